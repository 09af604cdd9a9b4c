"""Tickets and due times: who goes next over all teams, and what must be looked at when."""

from base64 import b32decode
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Case, Count, F, Q, QuerySet, When
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from tenants.context import current_schema
from tenants.models import Due, Placement, Runner, Ticket

LONGEST_WHY = 200
"""Characters of why a ticket is put off."""


def shortened(why: str) -> str:
    """Why a ticket is put off, as long as there is room for it."""
    return why if len(why) <= LONGEST_WHY else f"{why[: LONGEST_WHY - 1]}…"


def current_team_id() -> UUID:
    """The team of the current schema, whose name is made of its id."""
    letters = current_schema().removeprefix("t_").upper()
    return UUID(bytes=b32decode(letters + "=" * (-len(letters) % 8)))


def queue(
    kind: str,
    subject: UUID,
    *,
    swarm: UUID | None = None,
    lane: str = "agent",
    priority: int = 0,
    path: int = 0,
    delay: timedelta = timedelta(0),
    cost: float = 1.0,
    parked: str = "",
) -> None:
    """Give a subject of this team a ticket; one that has a ticket keeps it."""
    ticket = Ticket(
        kind=kind,
        subject=subject,
        swarm=swarm,
        lane=lane,
        priority=priority,
        path=path,
        not_before=timezone.now() + delay,
        cost=cost,
        parked=shortened(parked),
    )
    queue_all([ticket])


def park(tickets: Iterable[int], why: str, wait: timedelta) -> None:
    """Put off tickets whose turn had come. Since when is kept while the reason is of one kind: up to the colon."""
    kind = why.partition(":")[0]
    again = Q(parked=kind) | Q(parked__startswith=f"{kind}:")
    since = Case(When(again, then=Coalesce("parked_at", "created_at")), default=Now())
    rows = Ticket.objects.filter(pk__in=list(tickets))
    rows.update(parked=shortened(why), parked_at=since, not_before=Now() + wait)


def queue_all(tickets: Iterable[Ticket]) -> None:
    """Give several subjects of this team their tickets at once; those that have one keep it."""
    team = current_team_id()
    rows = list(tickets)
    for row in rows:
        row.team_id = team
    with connection.cursor() as cursor:
        cursor.execute("SELECT public.tenants_wake_share(%s)", [team])
    Ticket.objects.bulk_create(rows, batch_size=1000, ignore_conflicts=True)


def unqueue(kind: str, *subjects: UUID) -> None:
    """Take tickets back. One that is being called up just now stays: who called it finds that it is not wanted."""
    # Waiting for its lock would be waiting in a circle: who calls up a ticket waits for the swarm that we have locked.
    wanted = Ticket.objects.filter(kind=kind, subject__in=subjects)
    with transaction.atomic():
        free = list(wanted.select_for_update(skip_locked=True).values_list("pk", flat=True))
        Ticket.objects.filter(pk__in=free).delete()


TURN_SECONDS = 60.0
"""Seconds on a runner that make one turn: what an execution really cost is charged in these when it ends."""
CREDIT_MOST = 10.0
"""Turns that a team can be owed for estimates that were too high."""


def next_ticket(runner: Runner) -> Ticket | None:
    """The ticket that goes next on this runner, locked, and its team's share with it; see tenants.procedures.

    The team with the lowest virtual time below its cap; inside it priority (with age), critical path, who came first.
    Never waits: whom somebody else has locked is passed over.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT public.tenants_next_ticket(%s, %s)", [runner.team_id, runner.trusted])
        pk = cursor.fetchone()[0]
    return Ticket.objects.select_related("team").get(pk=pk) if pk is not None else None


def charge(ticket: Ticket, runner: Runner, execution: UUID) -> None:
    """A turn was taken: the team pays the estimate. Turns on a team's own runner cost it nothing."""
    if runner.team_id is None:
        _charge(ticket.team_id, ticket.cost)
        Placement.objects.filter(execution=execution).update(charged=ticket.cost)


# At least a tenth is charged, so that turns move on while a team uses up what it is owed.
_CHARGE = """
UPDATE public.tenants_teamshare SET last_start = virtual_time,
  virtual_time = virtual_time + greatest(%(cost)s - credit, %(cost)s / 10) / weight,
  credit = credit - %(cost)s + greatest(%(cost)s - credit, %(cost)s / 10)
WHERE team_id = %(team)s
"""
# Virtual time never goes back: a team that waits now would have to wait for all that others are owed.
_SETTLE = """
UPDATE public.tenants_teamshare SET
  virtual_time = virtual_time + greatest(%(more)s - credit, 0) / weight,
  credit = least(greatest(credit - %(more)s, 0), %(most)s)
WHERE team_id = %(team)s
"""


def _charge(team: UUID, cost: float) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_CHARGE, {"team": team, "cost": cost})


def leave(execution: UUID, *, seconds: float) -> None:
    """An execution has let go of its runner after so many seconds: its team pays what the turn really cost."""
    placement = Placement.objects.filter(execution=execution).first()
    if placement is None:
        return
    placement.delete()
    if placement.charged:
        # After the commit: who is here holds a swarm, and must not wait for a share. (If it is lost, a turn was cheap.)
        settle = partial(_settle, placement.team_id, seconds / TURN_SECONDS - placement.charged)
        transaction.on_commit(settle, robust=True)


def _settle(team: UUID, more: float) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_SETTLE, {"team": team, "more": more, "most": CREDIT_MOST})


@dataclass(frozen=True)
class ControlTurn:
    """Whose control-plane work goes next."""

    schema: str
    swarm: UUID


def next_control() -> ControlTurn | None:
    """Whose control-plane work goes next: the team with the lowest virtual time, its most critical node."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT team.schema_name, next.swarm FROM public.tenants_next_control() AS next"
            " JOIN public.tenants_team team ON team.id = next.team"
        )
        row = cursor.fetchone()
    return ControlTurn(*row) if row else None


_SERVED = f"""
WITH paid AS ({_CHARGE} RETURNING team_id, virtual_time), kept AS (
  UPDATE public.tenants_due SET due_at = statement_timestamp() + %(after)s
  WHERE kind = %(kind)s AND subject = %(subject)s
)
SELECT EXISTS (
  SELECT 1 FROM paid JOIN public.tenants_teamshare s
    ON s.team_id <> paid.team_id AND s.virtual_time < paid.virtual_time
  WHERE EXISTS (
    SELECT 1 FROM public.tenants_ticket x
    WHERE x.lane = 'control' AND x.team_id = s.team_id AND x.not_before <= statement_timestamp()))
"""


def served(cost: float, kind: str, subject: UUID, *, after: timedelta) -> bool:
    """This team was served and pays, and its subject, which goes on, is looked at later: in one commit.

    Returns whether control-plane work of another team waits whose turn is now before this team's.
    """
    words: dict[str, Any] = {"team": current_team_id(), "cost": cost, "kind": kind, "subject": subject, "after": after}
    with connection.cursor() as cursor:
        cursor.execute(_SERVED, words)
        row = cursor.fetchone()
    return bool(row[0])


def put_off_control(swarm: UUID, *, after: timedelta) -> None:
    """Whatever waits in the control lane for this swarm waits longer, unless it is being called up just now."""
    waiting = Ticket.objects.filter(lane="control", swarm=swarm, not_before__lte=Now())
    with transaction.atomic():
        free = list(waiting.select_for_update(skip_locked=True).values_list("pk", flat=True))
        Ticket.objects.filter(pk__in=free).update(not_before=Now() + after)


def charge_team(cost: float) -> None:
    """This team was served: its virtual time moves on."""
    _charge(current_team_id(), cost)


def free_runners(connected: QuerySet[Runner]) -> list[Runner]:
    """Of runners those with a free slot, the emptiest first. Not locked: `lock_slot` looks again."""
    counted = connected.filter(capacity__gt=0).annotate(held=Count("placements")).filter(held__lt=F("capacity"))
    return list(counted.order_by(F("held") * 1.0 / F("capacity"), "pk"))


def lock_slot(runner_id: UUID, *, wait: bool = True) -> Runner | None:
    """The runner, locked, if it has a free slot. Without `wait`, None also when somebody else has it locked."""
    # Not FOR UPDATE: whoever updates an execution of this runner holds its swarm and looks at the runner's key, and
    # whoever holds the runner here waits for that swarm.
    rows = Runner.objects.select_for_update(no_key=True, of=("self",), skip_locked=not wait)
    runner = rows.filter(pk=runner_id).first()
    if runner is None or Placement.objects.filter(runner=runner).count() >= runner.capacity:
        return None
    return runner


_DUE = """
INSERT INTO public.tenants_due AS due (team_id, kind, subject, due_at) VALUES (%s, %s, %s, statement_timestamp() + %s)
ON CONFLICT (kind, subject) DO UPDATE SET due_at = EXCLUDED.due_at WHERE due.due_at > EXCLUDED.due_at
"""


def due(kind: str, subject: UUID, *, after: timedelta) -> None:
    """Have the reconciler look at a subject of this team later; an earlier time that is set already stays."""
    words: list[Any] = [current_team_id(), kind, subject, after]
    with connection.cursor() as cursor:
        cursor.execute(_DUE, words)


def postpone(kind: str, subject: UUID, *, after: timedelta) -> None:
    """Move the time at which a subject is looked at."""
    Due.objects.filter(kind=kind, subject=subject).update(due_at=Now() + after)


def is_due(kind: str, subject: UUID) -> bool:
    """Whether the reconciler will look at a subject."""
    return Due.objects.filter(kind=kind, subject=subject).exists()


def settled(kind: str | tuple[str, ...], *subjects: UUID) -> None:
    """Nothing of this kind, or of these, is due for these subjects any more."""
    kinds = (kind,) if isinstance(kind, str) else kind
    Due.objects.filter(kind__in=kinds, subject__in=subjects).delete()
