"""May this work begin? Money is set aside first; where there is none, the ticket waits and a person is asked once."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from agents import budgets as money
from agents.models import Budget, Execution
from sessions.events import SYSTEM, acting
from swarms import approvals, budgets
from swarms.models import Approval, Node, Swarm
from swarms.states import SWARM_ENDED, ApprovalState, SwarmState
from tenants.models import User

SOFT, HARD = "soft", "hard"
REASON = "budget_exceeded"
_ENDS = SWARM_ENDED | {SwarmState.CANCELLING, SwarmState.FAILING}


@dataclass(frozen=True)
class Parked:
    """A turn that came too early: what the ticket waits for, and when it is looked at again."""

    why: str
    delay: timedelta


@dataclass(frozen=True)
class Denied:
    """A person said that there is no more money."""

    because: str


class NoRoom(Exception):
    """A budget has no room for this work."""

    def __init__(self, subject: str) -> None:
        super().__init__(subject)
        self.subject = subject


class _Told(Exception):
    """Somebody else asked at the same moment."""


def allowed(
    swarm: Swarm, role: str, begin: Callable[[], Execution | None], *, node: Node | None = None
) -> Execution | Parked | Denied | None:
    """Begin a piece of work with what it will probably cost set aside in each of its budgets, or not at all.

    With the swarm locked; `begin` opens the execution, and is undone when there is no room for it. Then the work waits:
    for what others have set aside, or, where that would not do, for a person, who is asked once. After a no of that
    person the work is denied.
    """
    subjects = budgets.subjects(swarm, node)
    if not Budget.objects.filter(subject__in=subjects).exists():
        return begin()
    ran_out = node is not None and _ran_out(node)
    if waits := _waits(swarm, subjects):
        return waits
    if ran_out and (subject := budgets.refused(swarm.pk, subjects)):
        return _denied(subject)
    amount = money.estimate(role)
    try:
        with transaction.atomic():
            execution = begin()
            if execution is not None and (short := money.reserve(execution, subjects, amount)) is not None:
                raise NoRoom(short)
            return execution
    except NoRoom as full:
        return _short(swarm, full.subject, amount)


def _ran_out(node: Node) -> bool:
    last = node.attempts.order_by("-number").values_list("reason", flat=True).first()
    return last == REASON


def _waits(swarm: Swarm, subjects: list[str]) -> Parked | None:
    """While a person is asked about the hard line, this swarm's work on that budget waits."""
    for asked in budgets.pending(subjects).filter(swarm=swarm, subject__line=HARD):
        if budgets.current(asked.subject) == asked.subject:
            return Parked(budgets.parked(asked.subject["budget"]), budgets.ASKED)
    return None


def _short(swarm: Swarm, subject: str, amount: int) -> Parked | Denied:
    if budgets.refused(swarm.pk, [subject]):
        return _denied(subject)
    budget = Budget.objects.filter(subject=subject).first()
    if budget is not None and not _comes_free(budget, amount):
        ask(swarm, budget, HARD, needed=amount)
    delay = budgets.ASKED if budgets.pending([subject]).exists() else budgets.LATER
    return Parked(budgets.parked(subject), delay)


def _comes_free(budget: Budget, amount: int) -> bool:
    """Whether there may be room once those who work now have given back what they do not need."""
    wanted = min(amount, budget.limit_microusd)  # more is never set aside: see agents.budgets.reserve
    return budget.reserved_microusd > 0 and wanted <= budget.limit_microusd - budget.spent_microusd


def _denied(subject: str) -> Denied:
    return Denied(f"{REASON}: a person refused more money for {budgets.title(subject)}")


def ask(swarm: Swarm, budget: Budget, line: str, *, needed: int = 0) -> Approval | None:
    """Ask for a higher limit, unless somebody is asked about this budget already. With the swarm locked."""
    noun, _, key = budget.subject.partition(":")
    of_node = Node.objects.get(pk=key) if noun == "node" else None
    same = Approval.objects.filter(swarm=swarm, kind="budget", state=ApprovalState.PENDING, node=of_node)
    if budgets.pending([budget.subject]).exists() or same.exists():
        return None
    return approvals.ask_budget(swarm, budgets.request(budget, line, needed), node=of_node)


def soft_line(swarm_id: UUID, subjects: list[str]) -> None:
    """Spending reached the soft line of these budgets: ask once for each. Nothing stops meanwhile.

    Not for a swarm that stops or has ended: a call of it may be booked late, and the next one that spends asks.
    """
    for subject in subjects:
        try:
            with transaction.atomic():
                swarm = _locked(swarm_id)
                if swarm.state in _ENDS:
                    return
                budget = Budget.objects.filter(subject=subject, asked_at=None).first()
                if budget is None or not ask(swarm, budget, SOFT):
                    continue
                # After the event, as everywhere: budgets are the last lock.
                if not Budget.objects.filter(pk=budget.pk, asked_at=None).update(asked_at=Now()):
                    raise _Told
        except _Told:
            continue


def ran_out(execution: Execution) -> None:
    """Its money ended while it worked: ask for more, in the budget that has the least room. With the swarm locked."""
    swarm = _locked(execution.swarm)
    found = list(Budget.objects.filter(subject__in=execution.budgets).order_by("subject"))
    if not found or swarm.state in _ENDS:
        return
    tightest = min(found, key=money.room)
    if not budgets.refused(swarm.pk, [tightest.subject]):
        ask(swarm, tightest, HARD, needed=money.FIRST_ESTIMATE)


def set_budget(subject: str, limit_microusd: int | None, soft_percent: int, *, by: User | None) -> None:
    """A member, or the operator (None), sets a limit (None: no limit any more).

    Questions about the old limit are void, and work goes on.

    Raises ValidationError.
    """
    actor = f"user:{by.pk}" if by else SYSTEM
    with transaction.atomic(), acting(actor):
        if swarm := budgets.swarm_of(subject):
            _locked(swarm)
        budgets.set_limit(subject, limit_microusd, soft_percent)
        budgets.wake(subject)
    for asked in budgets.pending([subject]):
        with transaction.atomic(), acting(actor):
            _locked(asked.swarm_id)
            if budgets.current(asked.subject) != asked.subject:
                approvals.outdated(asked)


def _locked(swarm_id: UUID) -> Swarm:
    """The swarm, locked, with what an approval says of it."""
    rows = Swarm.objects.select_for_update(no_key=True, of=("self",))
    return rows.select_related("project", "goal__created_by").get(pk=swarm_id)
