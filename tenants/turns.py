"""Tickets and due times: who goes next over all teams, and what must be looked at when."""

from base64 import b32decode
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Count, F
from django.db.models.functions import Now
from django.utils import timezone

from tenants.context import current_schema
from tenants.models import Due, Placement, Runner, TeamShare, Ticket


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
    team = current_team_id()
    with connection.cursor() as cursor:
        cursor.execute("SELECT public.tenants_wake_share(%s)", [team])
    Ticket.objects.bulk_create(
        [
            Ticket(
                team_id=team,
                kind=kind,
                subject=subject,
                swarm=swarm,
                lane=lane,
                priority=priority,
                path=path,
                not_before=timezone.now() + delay,
                cost=cost,
                parked=parked[:200],
            )
        ],
        ignore_conflicts=True,
    )


def unqueue(kind: str, *subjects: UUID) -> None:
    """Take tickets back. One that is being called up just now stays: who called it finds that it is not wanted."""
    # Waiting for its lock would be waiting in a circle: who calls up a ticket waits for the swarm that we have locked.
    wanted = Ticket.objects.filter(kind=kind, subject__in=subjects)
    with transaction.atomic():
        free = list(wanted.select_for_update(skip_locked=True).values_list("pk", flat=True))
        Ticket.objects.filter(pk__in=free).delete()


_NEXT = """
SELECT t.id FROM public.tenants_ticket t
JOIN public.tenants_teamshare s ON s.team_id = t.team_id
WHERE t.lane = 'agent' AND t.not_before <= statement_timestamp()
  AND (%(team)s::uuid IS NULL OR t.team_id = %(team)s)
  AND (%(trusted)s OR t.kind <> 'checks')
  AND s.cap > (SELECT count(*) FROM public.tenants_placement p WHERE p.team_id = t.team_id)
ORDER BY s.virtual_time, t.priority DESC, t.path DESC, t.created_at, t.id
LIMIT 1
FOR UPDATE OF t SKIP LOCKED
"""


def next_ticket(runner: Runner) -> Ticket | None:
    """The ticket that goes next on this runner, locked. Teams at their cap are left out before the choice."""
    with connection.cursor() as cursor:
        cursor.execute(_NEXT, {"team": runner.team_id, "trusted": runner.trusted})
        row = cursor.fetchone()
    return Ticket.objects.select_related("team").get(pk=row[0]) if row else None


def charge(ticket: Ticket) -> None:
    """A turn was taken: the team's virtual time moves on by what the turn costs."""
    TeamShare.objects.filter(team=ticket.team_id).update(virtual_time=F("virtual_time") + ticket.cost / F("weight"))


@dataclass(frozen=True)
class ControlTurn:
    """Whose control-plane work goes next."""

    schema: str
    swarm: UUID


_NEXT_CONTROL = """
SELECT team.schema_name, t.swarm FROM public.tenants_teamshare s
JOIN public.tenants_team team ON team.id = s.team_id
CROSS JOIN LATERAL (
  SELECT x.swarm FROM public.tenants_ticket x
  WHERE x.lane = 'control' AND x.team_id = s.team_id AND x.not_before <= statement_timestamp()
  ORDER BY x.priority DESC, x.path DESC, x.created_at, x.id LIMIT 1 FOR UPDATE SKIP LOCKED
) AS t
ORDER BY s.virtual_time LIMIT 1
"""


def next_control() -> ControlTurn | None:
    """Whose control-plane work goes next: the team with the lowest virtual time, its most critical node."""
    with connection.cursor() as cursor:
        cursor.execute(_NEXT_CONTROL)
        row = cursor.fetchone()
    return ControlTurn(*row) if row else None


_OTHERS = """
SELECT EXISTS (
  SELECT 1 FROM public.tenants_teamshare s, public.tenants_teamshare ours
  WHERE ours.team_id = %(team)s AND s.team_id <> %(team)s AND s.virtual_time < ours.virtual_time AND EXISTS (
    SELECT 1 FROM public.tenants_ticket x
    WHERE x.lane = 'control' AND x.team_id = s.team_id AND x.not_before <= statement_timestamp()))
"""


def others_go_first() -> bool:
    """Whether control-plane work of another team waits whose turn is before this team's."""
    with connection.cursor() as cursor:
        cursor.execute(_OTHERS, {"team": current_team_id()})
        return bool(cursor.fetchone()[0])


def put_off_control(swarm: UUID, *, after: timedelta) -> None:
    """Whatever waits in the control lane for this swarm waits longer, unless it is being called up just now."""
    waiting = Ticket.objects.filter(lane="control", swarm=swarm, not_before__lte=Now())
    with transaction.atomic():
        free = list(waiting.select_for_update(skip_locked=True).values_list("pk", flat=True))
        Ticket.objects.filter(pk__in=free).update(not_before=Now() + after)


def charge_team(cost: float) -> None:
    """This team was served: its virtual time moves on."""
    TeamShare.objects.filter(team=current_team_id()).update(virtual_time=F("virtual_time") + cost / F("weight"))


def free_runners(*, seen_within: timedelta) -> list[UUID]:
    """Connected runners with a free slot, the emptiest first. Not locked: `lock_slot` looks again."""
    connected = Runner.objects.exclude(channel="").filter(seen_at__gt=Now() - seen_within, capacity__gt=0)
    counted = connected.annotate(held=Count("placements")).filter(held__lt=F("capacity"))
    return list(counted.order_by(F("held") * 1.0 / F("capacity"), "pk").values_list("pk", flat=True))


def lock_slot(runner_id: UUID) -> Runner | None:
    """The runner, locked, if it has a free slot."""
    # Not FOR UPDATE: whoever updates an execution of this runner holds its swarm and looks at the runner's key, and
    # whoever holds the runner here waits for that swarm.
    runner = Runner.objects.select_for_update(no_key=True, of=("self",)).get(pk=runner_id)
    return runner if Placement.objects.filter(runner=runner).count() < runner.capacity else None


def due(kind: str, subject: UUID, *, after: timedelta) -> None:
    """Have the reconciler look at a subject of this team later; an earlier time that is set already stays."""
    Due.objects.bulk_create(
        [Due(team_id=current_team_id(), kind=kind, subject=subject, due_at=Now() + after)], ignore_conflicts=True
    )


def postpone(kind: str, subject: UUID, *, after: timedelta) -> None:
    """Move the time at which a subject is looked at."""
    Due.objects.filter(kind=kind, subject=subject).update(due_at=Now() + after)


def settled(kind: str, *subjects: UUID) -> None:
    """Nothing is due for these subjects any more."""
    Due.objects.filter(kind=kind, subject__in=subjects).delete()
