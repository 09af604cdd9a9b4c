"""kill -9 of whoever holds work."""

import time
from functools import partial
from uuid import UUID

from django.db import connection

from bench.chaos import victims
from bench.chaos.chaos import Chaos, Death
from bench.chaos.platform import RUNNERS, TICKER, WEBS, WORKERS
from bench.chaos.size import LEASE
from bench.stage import wait_for
from tenants.context import in_schema
from tenants.models import Team

TICKERS = 10
"""The clock is killed after so many workers, and after the last one."""
_TRIED_AGAIN = """
SELECT count(*) FROM swarms_attempt lost JOIN swarms_attempt next
  ON next.node_id = lost.node_id AND next.number > lost.number WHERE lost.id = ANY(%s)
"""


def claimed_and_dead(chaos: Chaos) -> None:
    """One worker dies between claim and completion, others are there: the next attempt starts a lease later."""
    for _ in range(chaos.size.deaths):
        pk, death = _kill_worker(chaos, "kill -9 of a worker, others are there", calm=True)
        wait_for(partial(_tried_again, chaos.team, death), "nothing is tried again", seconds=60)
        chaos.settle(pk)
        chaos.of.ready(*WORKERS)


def kills(chaos: Chaos) -> None:
    """Workers die while they hold claimed nodes, again and again, and now and then the clock: each is done once."""
    for number in range(1, chaos.size.kills + 1):
        _kill_worker(chaos, "kill -9 of a worker, one after the other")
        if number % TICKERS == 0 or number == chaos.size.kills:
            chaos.report.inject("kill -9 of the clock", hits=victims.ticker(chaos.of))
            chaos.of.kill(TICKER)
            chaos.of.start(TICKER)
    chaos.settle(*chaos.swarms)
    chaos.of.ready(*WORKERS, TICKER)


def _kill_worker(chaos: Chaos, what: str, *, calm: bool = False) -> tuple[UUID, Death]:
    """kill -9 of a worker that holds nodes, and start another one. Returns the swarm that was stated for it, too."""
    pk, caught = chaos.catch()
    chaos.of.kill(caught.name)
    death = chaos.died("worker", caught.holds, calm=calm)
    chaos.report.inject(what, hits=True)
    chaos.of.start(caught.name)
    return pk, death


def runners_and_webs(chaos: Chaos) -> None:
    """Runners and web processes die while agents work: what died with one is done again, the rest goes on."""
    for number in range(chaos.size.runner_kills):
        _kill_runner(chaos, RUNNERS[number % len(RUNNERS)], stays_dead=number % 2 == 0)
        _kill_web(chaos, WEBS[number % len(WEBS)])


def _kill_runner(chaos: Chaos, name: str, *, stays_dead: bool) -> None:
    held = chaos.samples.at_work(name)
    chaos.of.kill(name)
    chaos.report.inject("kill -9 of a runner", hits=bool(held))
    chaos.died("runner", chaos.samples.attempts_of(held), calm=True)
    if stays_dead:
        time.sleep(LEASE)
    chaos.of.start(name)
    chaos.of.ready(name)


def _kill_web(chaos: Chaos, name: str) -> None:
    held = chaos.samples.at_work(*RUNNERS)
    chaos.of.kill(name)
    chaos.report.inject("kill -9 of a web process", hits=bool(held))
    chaos.of.start(name)
    chaos.of.ready(name)


def _tried_again(team: Team, death: Death) -> bool:
    with in_schema(team.schema_name), connection.cursor() as cursor:
        cursor.execute(_TRIED_AGAIN, [list(death.attempts)])
        return bool(cursor.fetchone()[0] == len(death.attempts))
