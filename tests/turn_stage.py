"""Teams, runners and backlogs for tests of turns: rows in `public` alone, no schemas."""

from datetime import timedelta
from uuid import UUID, uuid4

from django.db import connection
from django.utils import timezone

from tenants import tokens, turns
from tenants.context import in_schema
from tenants.ids import uuid7
from tenants.models import Placement, Runner, Team, TeamShare
from tenants.models.people import schema_for


def make_team(name: str, *, weight: float = 1, cap: int = 1_000_000) -> Team:
    """A team with a share of the fleet."""
    pk = uuid7()
    team = Team.objects.create(pk=pk, name=name, schema_name=schema_for(pk), state="ready")
    TeamShare.objects.create(team=team, weight=weight, cap=cap)
    return team


def make_runner(name: str = "fleet", *, capacity: int = 1_000_000, team: Team | None = None, **more: bool) -> Runner:
    """A connected runner."""
    token, _ = tokens.issue("runner")
    return Runner.objects.create(
        name=name, token=token, capacity=capacity, channel="nowhere", seen_at=timezone.now(), team=team, **more
    )


def queue(team: Team, *, lane: str = "agent", kind: str = "node", **words: object) -> UUID:
    """One ticket, as the engine queues it; returns its subject."""
    subject = uuid4()
    with in_schema(team.schema_name):
        turns.queue(kind, subject, lane=lane, **words)  # type: ignore[arg-type]
    return subject


_BACKLOG = """
INSERT INTO public.tenants_ticket
  (team_id, kind, subject, swarm, lane, priority, path, not_before, cost, parked, created_at)
SELECT %(team)s, 'node', gen_random_uuid(), %(swarm)s, %(lane)s, n %% 7, n %% 50, now() - interval '1 second', 1, '',
  now() - n * interval '10 milliseconds'
FROM generate_series(1, %(count)s) AS n
"""


def backlog(team: Team, count: int, *, lane: str = "agent") -> None:
    """Many tickets at once."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT public.tenants_wake_share(%s)", [team.pk])
        cursor.execute(_BACKLOG, {"team": team.pk, "swarm": uuid4(), "lane": lane, "count": count})


def take(runner: Runner) -> UUID | None:
    """One turn without its work: returns whose it was."""
    ticket = turns.next_ticket(runner)
    if ticket is None:
        return None
    turns.charge(ticket, runner, uuid4())
    ticket.delete()
    return ticket.team_id


def turns_until(light: Team, runner: Runner) -> int:
    """Queue one ticket of this team; how many turns others have before it has its own."""
    queue(light)
    waited = 0
    while take(runner) != light.pk:
        waited += 1
    return waited


def place(team: Team, runner: Runner, *, charged: float = 0) -> UUID:
    """Something of this team is on the runner."""
    return Placement.objects.create(
        execution=uuid4(), team=team, runner=runner, kind="work", charged=charged
    ).execution  # fmt: skip


def age(subject: UUID, by: timedelta) -> None:
    """As if a ticket had waited for so much longer."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE public.tenants_ticket SET created_at = created_at - %s WHERE subject = %s",
            [by, subject],  # type: ignore[list-item]
        )  # fmt: skip
