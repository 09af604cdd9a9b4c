"""Whose money a node's work costs, how a budget is set, and what the answer to the question for more does."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from agents import budgets
from agents.models import Budget
from sessions.events import publish
from swarms import hints
from swarms.models import Approval, Node, Project, Swarm
from swarms.states import ApprovalState
from tenants import turns
from tenants.models import Ticket

TEAM = "team"
SMALLEST_RAISE = 1_000_000
"""A dollar: doubling a budget of nothing would ask for nothing."""
LATER = timedelta(seconds=15)
"""When a ticket is looked at again whose budget has no room until others give back what they do not need."""
ASKED = timedelta(minutes=5)
"""The same while a person is asked; the answer, and whoever sets another limit, wakes it at once."""


def subject_of(thing: Project | Swarm | Node) -> str:
    """The name under which something has its budget."""
    return f"{type(thing).__name__.lower()}:{thing.pk}"


def subjects(swarm: Swarm, node: Node | None = None) -> list[str]:
    """Everything whose budget a piece of work draws on: team, project, swarm, node, and what the node details."""
    found = [TEAM, f"project:{swarm.project_id}", subject_of(swarm)]
    while node is not None:
        found.append(subject_of(node))
        node = node.parent
    return found


def parked(subject: str) -> str:
    """What a ticket says that waits for money."""
    return f"budget:{subject}"


def raised(budget: Budget, needed: int = 0) -> int:
    """The limit that a person is asked for: twice as much, and room for what could not begin. Pure."""
    taken = budget.spent_microusd + budget.reserved_microusd
    return max(2 * budget.limit_microusd, taken + needed, SMALLEST_RAISE)


def request(budget: Budget, line: str, needed: int = 0) -> dict[str, Any]:
    """Exactly what a person decides about more money; `line` is soft or hard."""
    return {
        "budget": budget.subject,
        "line": line,
        "limit_microusd": budget.limit_microusd,
        "raise_to_microusd": raised(budget, needed),
        "spent_microusd": budget.spent_microusd,
        "reserved_microusd": budget.reserved_microusd,
    }


def current(asked: dict[str, Any]) -> dict[str, Any]:
    """A request as it would be made now: another one as soon as somebody has set another limit.

    What is spent meanwhile is not decided, or no answer would hold while agents work.
    """
    budget = Budget.objects.filter(subject=asked["budget"]).first()
    return asked | {"limit_microusd": budget.limit_microusd if budget else None}


def pending(names: Iterable[str]) -> Any:
    """Approvals that wait for a person and are about these budgets."""
    return Approval.objects.filter(kind="budget", state=ApprovalState.PENDING, subject__budget__in=list(names))


def refused(swarm_id: UUID, names: Iterable[str]) -> str | None:
    """The budget of these for which this swarm asked in vain, while its limit is still the one that was asked about."""
    said_no = Approval.objects.filter(swarm=swarm_id, kind="budget", state=ApprovalState.REJECTED)
    for asked in said_no.filter(subject__line="hard", subject__budget__in=list(names)).values_list(
        "subject", flat=True
    ):
        if current(asked) == asked:
            return str(asked["budget"])
    return None


def decided(approval: Approval) -> None:
    """A person answered, in the transaction of the answer and with the swarm locked.

    Yes: the limit becomes what was asked for, and whatever waits for it goes on. No at the hard line: what waits in
    this swarm fails at its next turn with `budget_exceeded` (see swarms.allowances), as its failure policy says; other
    swarms ask for themselves. No at the soft line: all goes on to the hard line.
    """
    name = approval.subject["budget"]
    if approval.state == ApprovalState.APPROVED:
        set_limit(name, approval.subject["raise_to_microusd"])
    wake(name)


def set_limit(subject: str, limit_microusd: int | None, soft_percent: int | None = None) -> None:
    """Set a limit, or take it away (None), and tell of it: what was told last is what holds (swarms.verify.money).

    Without `soft_percent` the soft line stays where it is. With the swarm locked, where it is of a swarm or a node.
    Raises ValidationError.
    """
    if soft_percent is None:
        budget = Budget.objects.filter(subject=subject).first()
        soft_percent = budget.soft_percent if budget else budgets.SOFT_PERCENT
    # Told first: the books are the last lock (see agents.budgets).
    topic = f"swarm:{swarm}" if (swarm := swarm_of(subject)) else subject
    publish(topic, "budget.set", budget=subject, limit_microusd=limit_microusd, soft_percent=soft_percent)
    if limit_microusd is None:
        budgets.drop_limit(subject)
    else:
        budgets.set_limit(subject, limit_microusd, soft_percent)


def swarm_of(subject: str) -> UUID | None:
    """The swarm that has this budget, or whose node has it."""
    noun, _, key = subject.partition(":")
    if noun == "node":
        return UUID(str(Node.objects.values_list("swarm", flat=True).get(pk=key)))
    return UUID(key) if noun == "swarm" else None


def wake(subject: str) -> None:
    """Whatever waits for this budget is looked at now, unless it is being called up just now."""
    waiting = Ticket.objects.filter(team=turns.current_team_id())
    with transaction.atomic():
        wanted = waiting.filter(Q(parked=parked(subject)) | Q(parked__startswith="budget_exceeded"))
        free = list(wanted.select_for_update(skip_locked=True).values_list("pk", flat=True))
        Ticket.objects.filter(pk__in=free).update(not_before=Now())
    hints.dispatch()


def title(subject: str) -> str:
    """What a budget is of, in words."""
    noun, _, key = subject.partition(":")
    match noun:
        case "project":
            return f"project {Project.objects.get(pk=key)}"
        case "swarm":
            return f"swarm {Swarm.objects.select_related('project').get(pk=key)}"
        case "node":
            node = Node.objects.select_related("swarm__project").get(pk=key)
            return f"node {node.key} of {node.swarm}"
    return "the team"
