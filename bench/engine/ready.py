"""The next turn when many nodes of many teams wait."""

import time

from django.db import connection, transaction

from bench.figures import Figures, tail, typical
from bench.stage import Stage
from tenants import turns
from tenants.context import PUBLIC, in_schema
from tenants.ids import uuid7
from tenants.models import Placement, Runner, Team, TeamShare, Ticket, Token
from tenants.models.people import schema_for

TEAMS, WAITING, CALLS = 10, (10_000, 100_000), 200


def measure(at: Stage) -> Figures:
    """The ticket that goes next on a runner, locked, in a transaction: with 10,000 and with 100,000 that wait.

    Over ten teams, each with some executions under way. Only rows that are seen across teams count here, so the teams
    have no schemas.
    """
    found: Figures = {}
    with in_schema(PUBLIC):
        runner = _runner()
        teams = [_team(number, runner) for number in range(TEAMS)]
        for count in WAITING:
            Ticket.objects.all().delete()
            rows = (
                Ticket(team=teams[n % TEAMS], kind="node", subject=uuid7(), priority=n % 3, path=n % 97)
                for n in range(count)
            )
            Ticket.objects.bulk_create(rows, batch_size=5_000)
            with connection.cursor() as cursor:
                cursor.execute("VACUUM ANALYZE public.tenants_ticket")
            took = [_next(runner) for _ in range(CALLS)]
            found[f"engine.ready_query_{count // 1000}k_ms"] = typical(took, "ms")
            found[f"engine.ready_query_{count // 1000}k_p95_ms"] = tail([[one] for one in took], "ms")
        found["engine.ready_query_floor_ms"] = typical([_nothing() for _ in range(CALLS)], "ms")
    return found


def _runner() -> Runner:
    token = Token.objects.create(kind="runner", hash="0" * 64)
    return Runner.objects.create(name="bench", token=token, capacity=100, channel="specific.bench")


def _team(number: int, runner: Runner) -> Team:
    key = uuid7()
    # Not "ready": nobody shall look for its schema.
    made = Team.objects.create(id=key, schema_name=schema_for(key), name=f"team {number}", state="failed")
    TeamShare.objects.create(team=made, virtual_time=number)
    Placement.objects.bulk_create(
        Placement(execution=uuid7(), team=made, runner=runner, kind="work") for _ in range(number)
    )
    return made


def _next(runner: Runner) -> float:
    """Milliseconds of one look. What it locks is let go of, so that the next look finds the same."""
    began = time.perf_counter()
    with transaction.atomic():
        if turns.next_ticket(runner) is None:
            raise AssertionError("nobody's turn, and many wait")
    return (time.perf_counter() - began) * 1000


def _nothing() -> float:
    """Milliseconds of a transaction that asks nothing."""
    began = time.perf_counter()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchall()
    return (time.perf_counter() - began) * 1000
