"""All invariants, by subject. Pure."""

from swarms.verify import nodes, outside, swarm, telling, tries, waiting
from swarms.verify.invariant import Invariant

ALL: tuple[Invariant, ...] = (
    *swarm.INVARIANTS,
    *nodes.INVARIANTS,
    *tries.INVARIANTS,
    *waiting.INVARIANTS,
    *telling.INVARIANTS,
    *outside.INVARIANTS,
)
