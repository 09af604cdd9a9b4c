"""A tick of the clock when a thousand teams have schemas and twenty of them work."""

import time
from datetime import timedelta
from uuid import UUID

from django.db.models.functions import Now

from agents import executions
from agents.models import Execution
from agents.states import LIVE
from bench import swarm, teams
from bench.figures import Figures, tail, typical
from bench.stage import Stage
from swarms import dispatch, engine, reconcile
from tenants.context import PUBLIC, in_schema
from tenants.models import Due, Placement, Runner, Team, Ticket, Token

TEAMS, WORKING, NODES = 1_000, 20, 16
RUNNERS, CAPACITY = 5, 20
ROUNDS = 30


def measure(at: Stage) -> Figures:
    """The tick itself, with all that it acts on, in this process; no worker and no other clock run.

    Twenty teams have a swarm each; a hundred attempts are under way on five runners, which are rows: nobody beats, but
    their leases are kept as heartbeats would. More nodes wait than fit. In each round three ticks are measured: nothing
    is due; a lease of every working team is due to be looked at, which in life happens every fifteenth tick; and the
    same while one of them has really run out, so its attempt is lost, its node queued anew, and the free slot given to
    whoever goes next.
    """
    began = time.monotonic()
    working = teams.many(TEAMS)[:: TEAMS // WORKING]
    making = (time.monotonic() - began) / TEAMS
    runners = _runners()
    swarms = {team.pk: _swarm(team) for team in working}
    _fill(working)
    quiet, kept, losing = [], [], []
    for number in range(ROUNDS):
        _settle(working, swarms, runners)
        quiet.append(_tick(looks=0))
        _make_due(working, lost=None)
        kept.append(_tick(looks=WORKING))
        lost = working[number % WORKING]
        gone = _make_due(working, lost=lost)
        before = _placed()
        losing.append(_tick(looks=WORKING))
        _check(lost, gone, before)
    return {
        "engine.teams1000_tick_ms": typical(kept, "ms"),
        "engine.teams1000_tick_p95_ms": tail([[one] for one in kept], "ms"),
        "engine.teams1000_losing_tick_ms": typical(losing, "ms"),
        "engine.teams1000_quiet_tick_ms": typical(quiet, "ms"),
        "engine.teams1000_schema_s": typical([making], "s a schema"),
    }


def _runners() -> list[UUID]:
    with in_schema(PUBLIC):
        return [
            Runner.objects.create(
                name=f"bench-{number}",
                token=Token.objects.create(kind="runner", hash=f"{number:064}"),
                capacity=CAPACITY,
                channel=f"specific.bench!{number}",
                seen_at=Now(),
            ).pk
            for number in range(RUNNERS)
        ]


def _swarm(team: Team) -> UUID:
    """A swarm whose nodes all may start."""
    made = swarm.proposed(team, swarm.agents(NODES))
    swarm.adopt(team, made)
    return made


def _fill(working: list[Team]) -> None:
    """Give out turns until nobody has a slot; what was given is begun."""
    while dispatch.dispatch():
        pass
    if _placed() != RUNNERS * CAPACITY:
        raise AssertionError(f"only {_placed()} attempts could be placed")
    with in_schema(PUBLIC):
        if Ticket.objects.values("team").distinct().count() != WORKING:
            raise AssertionError("not every team has something that waits")
    _begin(working)


def _begin(working: list[Team]) -> None:
    for team in working:
        with in_schema(team.schema_name):
            for one in Execution.objects.filter(state="leased"):
                executions.accept(one.pk, one.fence)


def _settle(working: list[Team], swarms: dict[UUID, UUID], runners: list[UUID]) -> None:
    """What workers, runners and heartbeats would have done since the last tick."""
    with in_schema(PUBLIC):
        Runner.objects.filter(pk__in=runners).update(seen_at=Now())
    _begin(working)
    for team in working:
        with in_schema(team.schema_name):
            engine.advance(swarms[team.pk])
            Execution.objects.filter(state__in=LIVE).update(lease_until=Now() + executions.lease())
    with in_schema(PUBLIC):
        Due.objects.filter(kind="lease").update(due_at=Now() + timedelta(seconds=30))
        if left := list(Due.objects.filter(due_at__lte=Now() + timedelta(seconds=5)).values_list("kind", flat=True)):
            raise AssertionError(f"due already: {left}")


def _make_due(working: list[Team], *, lost: Team | None) -> UUID | None:
    """One lease of each working team must be looked at now; that of `lost` has run out. Returns its execution."""
    gone = None
    for team in working:
        with in_schema(team.schema_name):
            oldest = Execution.objects.filter(state__in=LIVE).earliest("created_at")
            if team == lost:
                gone = oldest.pk
                Execution.objects.filter(pk=gone).update(lease_until=Now() - timedelta(seconds=1))
            Due.objects.filter(kind="lease", subject=oldest.pk).update(due_at=Now())
    return gone


def _tick(*, looks: int) -> float:
    """Milliseconds of a tick that looks at so many rows."""
    began = time.perf_counter()
    looked = reconcile.tick()
    took = (time.perf_counter() - began) * 1000
    if looked != looks:
        raise AssertionError(f"the tick looked at {looked} rows, not at {looks}")
    return took


def _placed() -> int:
    with in_schema(PUBLIC):
        return Placement.objects.count()


def _check(lost: Team, gone: UUID | None, before: int) -> None:
    """The tick did what it is measured for."""
    with in_schema(lost.schema_name):
        if not Execution.objects.filter(pk__in=[gone], state="lost").exists():
            raise AssertionError("the expired lease was not reaped")
    if _placed() != before:
        raise AssertionError("the free slot was not given to anybody")
