"""Why is it not running? The unmet conditions of a node, or of a swarm, from the rows that also decide. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from swarms.reasons import rule_of
from swarms.states import SWARM_PAUSED, NodeState, SwarmState

NAMED = 5
"""Nodes that a reason names."""
ABOUT_RUNNERS = frozenset({"capacity", "checks", "quota", "turn"})
"""Kinds of reasons in which it matters which runners are connected."""


@dataclass(frozen=True)
class Unmet:
    """One reason, since when it holds, and what would resolve it."""

    kind: str
    text: str
    since: datetime | None
    remedy: str

    @property
    def is_about_runners(self) -> bool:
        """Whether it reads otherwise when a runner comes or goes, of which no event tells."""
        return self.kind in ABOUT_RUNNERS


@dataclass(frozen=True)
class Waiting:
    """A node's ticket, as those see it who give out turns."""

    since: datetime
    """When it was parked, if it is, else when it was made."""
    not_before: datetime
    parked: str = ""
    ahead: int = 0
    """Tickets of its team that go before it."""
    lane: str = "agent"
    """Who serves it: an agent on a runner, or a worker of the control plane."""


@dataclass(frozen=True)
class Surroundings:
    """What is the same for all nodes of a team at a moment."""

    now: datetime
    swarm_state: str = SwarmState.RUNNING
    swarm_since: datetime | None = None
    """When the swarm came into its state."""
    swarm_because: str = ""
    """Why it is in it: who paused it, and the reason that was given."""
    runners: int = 0
    """Runners that are connected and take work."""
    leaving: int = 0
    """Runners that are connected and are about to stop: they finish what they have."""
    trusted: int = 0
    """Those of them that may run checks."""
    free_slots: int = 0
    placed: int = 0
    """Executions of the team that have a runner."""
    cap: int | None = None
    unconfined_asked_at: datetime | None = None
    """Since when a person is asked whether checks may run where nothing locks them in."""

    @property
    def is_full(self) -> bool:
        """Whether the team has as many executions as it may."""
        return self.cap is not None and self.placed >= self.cap

    @property
    def fullness(self) -> str:
        """How full the team is, in words."""
        return f"the team has {self.placed} of the {self.cap} executions that it may have at once"


@dataclass(frozen=True)
class Facts:
    """What is known of a node."""

    state: str
    not_before: datetime
    since: datetime | None = None
    """When it came into its state, as far as its row tells."""
    because: str = ""
    open_parents: Sequence[str] = ()
    """Keys of parents that have not ended, with their state: `printer (running)`."""
    fan_in: str = "all_success"
    asked_at: datetime | None = None
    """When a person was asked about it or, while it runs, about what its agent wants to do."""
    ticket: Waiting | None = None
    no_room: str = ""
    """Why its team may not have the nodes yet into which it was detailed."""
    checks_since: datetime | None = None
    """When the checks that it waits for were asked for, if no runner has them yet."""
    merges_ahead: int | None = None
    """Entries before it in the merge queue."""


@dataclass(frozen=True)
class Whole:
    """What is known of a swarm, beside its nodes."""

    asked: Sequence[tuple[str, datetime]] = ()
    """Questions about the whole that wait for a person, and since when."""
    needs_help: bool = False
    """Its plan has faults, or its coordinator brought none."""
    plan_ticket: Waiting | None = None
    """The coordinator's, while it has no turn."""
    checks_since: datetime | None = None
    """When the checks that it waits for were asked for, if no runner has them yet."""
    stopping: int = 0
    """Executions that were asked to stop and have not, while it is cancelled or fails."""


_RAISE_CAP = "Wait, or have the operator raise the team's cap."
_REMEDY = {
    "all_success": "It starts when they have succeeded.",
    "all_done": "It starts when they have ended, however.",
    "any_success": "It starts when one of them has succeeded.",
}
_PARKED = {
    "approval": ("a person must decide about its place", "Approve or reject it."),
    "breaker": ("the provider of its model does not answer", "It goes on by itself when the provider answers again."),
    "key": (
        "the provider of its model takes no calls with this key",
        "It is tried again by itself; should the key be wrong or its account empty, see Settings, Providers.",
    ),
    "agent": (
        "no agent takes it now",
        "Look at the agents, and at the servers on which they work: enable one, give one more room, or add one.",
    ),
    "broken": (
        "the platform could not begin it",
        "It is tried again by itself; the operator finds the cause in the log, under this trace.",
    ),
    "budget": ("a budget has no room for it", "Approve the request to raise the budget, or raise it yourself."),
}


def unmet(node: Facts, around: Surroundings) -> list[Unmet]:
    """Why a node does not run now, the most basic reason first; empty when it runs or has ended."""
    found: list[Unmet] = []
    if around.swarm_state in SWARM_PAUSED and node.state in (NodeState.BLOCKED, NodeState.READY):
        found.append(_paused(around))
    match node.state:
        case NodeState.BLOCKED if node.open_parents:
            found.append(_dependency(node))
        case NodeState.BLOCKED if not found:
            text = "nothing stands before it any more"
            found.append(Unmet("decision", text, node.since, "What becomes of it is decided within seconds."))
        case NodeState.RUNNING if node.asked_at:
            text = "a person must decide whether its agent may use a tool"
            found.append(Unmet("approval", text, node.asked_at, "Approve or reject it."))
        case NodeState.AWAITING_APPROVAL:
            found.append(Unmet("approval", "a person must decide", node.asked_at, "Approve or reject it."))
        case NodeState.READY:
            found += _turn(node, around)
        case NodeState.VERIFYING if node.asked_at:
            text = "a person must decide about its plan"
            found.append(Unmet("approval", text, node.asked_at, "Approve or reject it."))
        case NodeState.VERIFYING if node.no_room:
            remedy = "It goes on when there is room: cancel what is not needed, or ask the operator for a larger share."
            found.append(Unmet("quota", node.no_room, node.since, remedy))
        case NodeState.VERIFYING | NodeState.MERGING if node.checks_since:
            found.append(_checks(node.checks_since, around))
        case NodeState.MERGING if node.merges_ahead:
            text = f"{node.merges_ahead} before it in the merge queue"
            found.append(Unmet("merge_queue", text, node.since, "It is merged when they are through."))
    return found


def unmet_of(swarm: Whole, around: Surroundings) -> list[Unmet]:
    """Why a swarm as a whole does not go on; empty when it does, or waits only for its nodes."""
    found = [
        Unmet("approval", f"a person must decide: {title}", at, "Approve or reject it.") for title, at in swarm.asked
    ]
    if around.swarm_state in SWARM_PAUSED:
        found.append(_paused(around))
    if swarm.needs_help:
        remedy = "Give a plan as YAML, or ask the coordinator again."
        found.append(Unmet("plan", "it has no plan that can be carried out", around.swarm_since, remedy))
    if swarm.plan_ticket:
        found += [replace(one, text=f"its coordinator: {one.text}") for one in _of_ticket(swarm.plan_ticket, around)]
    if swarm.checks_since and not around.unconfined_asked_at:  # that is told above
        found.append(_checks(swarm.checks_since, around))
    if swarm.stopping:
        what = "1 execution has" if swarm.stopping == 1 else f"{swarm.stopping} executions have"
        remedy = "They stop within seconds; one whose runner is silent is given up when its lease ends."
        found.append(Unmet("stopping", f"{what} not stopped yet", around.swarm_since, remedy))
    return found


def _paused(around: Surroundings) -> Unmet:
    what = "the swarm" if around.swarm_state == SwarmState.PAUSED else "its rollback"
    return Unmet("paused", f"{what} is {around.swarm_because or 'paused'}", around.swarm_since, f"Resume {what}.")


def _checks(since: datetime, around: Surroundings) -> Unmet:
    """Why checks do not run: only a trusted runner may, and they take a place of the team's."""
    if around.unconfined_asked_at:
        text = "a person must decide whether its checks may run where nothing locks them in"
        return Unmet("approval", text, around.unconfined_asked_at, "Approve or reject it.")
    text, remedy = "its checks wait for a free runner", "Start another trusted runner, or wait for a slot."
    if not around.trusted:
        text, remedy = f"{_no_runner(around)} that may run checks", "Start a trusted runner."
    elif around.is_full:
        text, remedy = f"its checks wait: {around.fullness}", _RAISE_CAP
    return Unmet("checks", text, since, remedy)


def _dependency(node: Facts) -> Unmet:
    more = f" and {len(node.open_parents) - NAMED} more" if len(node.open_parents) > NAMED else ""
    text = f"waits for {', '.join(node.open_parents[:NAMED])}{more}"
    return Unmet("dependency", text, node.since, _REMEDY[node.fan_in])


def _turn(node: Facts, around: Surroundings) -> list[Unmet]:
    ticket = node.ticket
    if ticket is None:
        if around.swarm_state in SWARM_PAUSED:
            return []
        return [Unmet("turn", "it has no ticket yet", node.since, "The reconciler gives it one within seconds.")]
    if not ticket.parked and ticket.not_before > around.now:
        text = f"waits until {ticket.not_before:%H:%M:%S} UTC after its last attempt"
        return [Unmet("not_before", text, node.since, "It is tried again then.")]
    return _of_ticket(ticket, around)


def _of_ticket(ticket: Waiting, around: Surroundings) -> list[Unmet]:
    if ticket.parked:
        kind, _, name = ticket.parked.partition(":")
        if kind in _PARKED:
            text, remedy = _PARKED[kind]
        else:
            rule = rule_of(ticket.parked)
            text = f"put off, {kind.replace('_', ' ')}"
            remedy = rule.remedy if rule else "It is looked at again by itself."
        name = name.strip()
        until = f", looked at again at {ticket.not_before:%H:%M:%S} UTC" if ticket.not_before > around.now else ""
        return [Unmet(kind, f"{text} ({name}){until}" if name else f"{text}{until}", ticket.since, remedy)]
    return _capacity(ticket, around)


def _no_runner(around: Surroundings) -> str:
    if around.runners or not around.leaving:
        return "no runner is connected"
    if around.leaving == 1:
        return "the one runner that is connected is about to stop, and there is no other"
    return f"the {around.leaving} runners that are connected are about to stop, and there is no other"


def _capacity(ticket: Waiting, around: Surroundings) -> list[Unmet]:
    behind = f"; {ticket.ahead} of the team go before it" if ticket.ahead else ""
    if ticket.lane != "agent":
        text, remedy = f"a worker of the control plane takes it{behind}", "It does within seconds, if a worker runs."
        return [Unmet("turn", text, ticket.since, remedy)]
    if not around.runners:
        text, remedy = _no_runner(around), "Start a runner: python -m agents.runner."
        return [Unmet("capacity", text, ticket.since, remedy)]
    if around.is_full:
        return [Unmet("quota", f"{around.fullness}{behind}", ticket.since, _RAISE_CAP)]
    if not around.free_slots:
        text = f"all slots of {around.runners} runner{'s' if around.runners > 1 else ''} are taken{behind}"
        return [Unmet("capacity", text, ticket.since, "Start another runner, or wait for a slot.")]
    return [Unmet("turn", f"its turn comes next{behind}", ticket.since, "It is placed within seconds.")]
