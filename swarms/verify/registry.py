"""All invariants, by subject. Pure."""

from swarms.verify import nodes, outside, proof, swarm, telling, tries, waiting
from swarms.verify.invariant import Invariant

ALL: tuple[Invariant, ...] = (
    *swarm.INVARIANTS,
    *nodes.INVARIANTS,
    *tries.INVARIANTS,
    *proof.INVARIANTS,
    *waiting.INVARIANTS,
    *telling.INVARIANTS,
    *outside.INVARIANTS,
)
