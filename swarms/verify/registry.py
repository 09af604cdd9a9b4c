"""All invariants, by subject. Pure."""

from swarms.verify import money, nodes, outside, proof, swarm, telling, tries, waiting
from swarms.verify.invariant import Invariant

ALL: tuple[Invariant, ...] = (
    *swarm.INVARIANTS,
    *nodes.INVARIANTS,
    *tries.INVARIANTS,
    *proof.INVARIANTS,
    *waiting.INVARIANTS,
    *money.INVARIANTS,
    *telling.INVARIANTS,
    *outside.INVARIANTS,
)
