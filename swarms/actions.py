"""What can be done to a swarm next: the actions that swarms.decide decides and swarms.engine carries out. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Action:
    """One thing to do; `why` is written with it."""

    why: str


@dataclass(frozen=True)
class Release(Action):
    """Let nodes start, or be skipped, that nothing holds back."""

    nodes: tuple[str, ...]


@dataclass(frozen=True)
class OfNode(Action):
    """Something about one node."""

    node: str


@dataclass(frozen=True)
class MakeReady(OfNode):
    """It was approved: it waits for its turn."""


@dataclass(frozen=True)
class AskForNode(OfNode):
    """A person decides whether it starts."""


@dataclass(frozen=True)
class FailNode(OfNode):
    """It was not approved."""


@dataclass(frozen=True)
class EndWaiting(Action):
    """Whatever has not started is cancelled or skipped."""

    to: str


@dataclass(frozen=True)
class MoveSwarm(Action):
    """The swarm goes on to another state."""

    to: str


@dataclass(frozen=True)
class AdoptPlan(Action):
    """The plan becomes nodes and edges, and the swarm runs."""


@dataclass(frozen=True)
class TurnBackPlan(Action):
    """The plan cannot be adopted; a person must help."""


@dataclass(frozen=True)
class RejectPlan(Action):
    """The coordinator plans again."""


@dataclass(frozen=True)
class AskForPlan(Action):
    """A person decides about the plan."""


@dataclass(frozen=True)
class CheckIntegration(Action):
    """The whole result is checked."""


@dataclass(frozen=True)
class AskForLanding(Action):
    """A person decides about the landing."""


@dataclass(frozen=True)
class Land(Action):
    """The commit that would land is made and checked, and then goes to the target branch."""

    is_checked: bool = False
    """It has passed its checks."""


@dataclass(frozen=True)
class RollBack(Action):
    """What succeeded is undone by nodes of its own."""
