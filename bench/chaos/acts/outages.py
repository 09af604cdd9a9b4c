"""Postgres ends at once, as by a power cut, while everything writes."""

import os
import signal
import time

from bench.chaos.chaos import Chaos, patiently
from bench.chaos.platform import RUNNERS
from bench.chaos.writers import Writers
from config.services import ensure
from config.services.embedded import marks
from swarms import operations
from swarms.models import Goal, Swarm
from swarms.states import SWARM_ENDED, SwarmState
from tenants.context import in_schema

AWAY, AROUND = 0.5, 1.5
"""Seconds that Postgres is away, and that programs write before and after."""


def postgres_stops(chaos: Chaos) -> None:
    """Immediate stop of Postgres amid work: what was acknowledged is there, and nothing is there twice."""
    held = chaos.samples.at_work(*RUNNERS)
    with Writers(chaos.samples, chaos.of.web.port, insists=True) as writers:
        time.sleep(AROUND)
        pk = chaos.submit()
        time.sleep(0.05)
        os.kill(marks(chaos.of.at.folder)["postgres"].pid, signal.SIGQUIT)
        chaos.report.inject("immediate stop of Postgres", hits=bool(held))
        time.sleep(AWAY)
        ensure(chaos.of.at.folder, only=("postgres",), bound=True)
        patiently(lambda: chaos.settle(pk))
        time.sleep(AROUND)
    patiently(lambda: _account(chaos, writers))


def _account(chaos: Chaos, writers: Writers) -> None:
    """Compare what a program was told with what the tables say."""
    with in_schema(chaos.samples.team.schema_name):
        stated = {goal.once_key: goal.swarm.pk for goal in Goal.objects.exclude(once_key="").select_related("swarm")}
        missing = [key for key, swarm in writers.acknowledged.items() if stated.get(key) != swarm]
        mine = Swarm.objects.filter(pk__in=writers.acknowledged.values())
        for swarm in mine.exclude(state__in=[*SWARM_ENDED, SwarmState.CANCELLING]):  # by an earlier try of this
            operations.cancel(swarm, by=chaos.samples.owner)
    chaos.report.at_most("Postgres stopped: acknowledged writes that are missing", len(missing), 0)
    chaos.report.at_least("Postgres stopped: writes acknowledged", len(writers.acknowledged), 2)
    chaos.report.recovered["writes that were refused while Postgres was away, and taken later"] += writers.failed
