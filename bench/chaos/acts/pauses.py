"""SIGSTOP for longer than a lease: who wakes believes that nothing has happened, and reports."""

import time
from collections.abc import Callable
from uuid import UUID

from bench.chaos import victims
from bench.chaos.chaos import Chaos
from bench.chaos.mute import muted
from bench.chaos.platform import RUNNERS, TICKER, WEBS, go_on
from bench.chaos.size import LEASE
from bench.stage import wait_for
from swarms.hints import LOST_HINT
from swarms.models import Attempt
from tenants.context import in_schema

REFUSED = "stale completions refused"
"""What a worker writes to its log when what it reports is not wanted any more."""
NEXT_LOOK = LEASE + 2
ASLEEP = LEASE + 1
"""Seconds: a lease, and time for the clock to see that it is over."""


def workers_asleep(chaos: Chaos) -> None:
    """A worker sleeps while it holds nodes: they are done by others, and what it reports when it wakes is refused."""
    for _ in range(chaos.size.stops):
        pk, caught = chaos.catch()
        chaos.report.inject("SIGSTOP of a worker beyond its lease", hits=True)
        report_late(chaos, caught, caught.release)
        chaos.settle(pk)


def report_late(chaos: Chaos, caught: victims.Caught, wake: Callable[[], object]) -> None:
    """When the clock has given up what a silent worker held, give it its voice back; wait until it has reported."""
    time.sleep(ASLEEP)
    wait_for(lambda: not _holds(chaos, caught), "silent attempts are not given up", seconds=60)
    chaos.late.update(caught.holds)
    before = chaos.of.said(caught.name).count(REFUSED)
    wake()
    wait_for(
        lambda: chaos.of.said(caught.name).count(REFUSED) > before,
        f"{caught.name} does not report what it held",
        seconds=60,
    )


def _holds(chaos: Chaos, caught: victims.Caught) -> bool:
    with in_schema(chaos.team.schema_name):
        return Attempt.objects.filter(pk__in=caught.holds, ended_at=None).exists()


def transactions_asleep(chaos: Chaos) -> None:
    """A worker sleeps amid a transaction, with a swarm locked: the others' work goes on by the clock alone."""
    for _ in range(chaos.size.stops):
        held, caught = chaos.catch(victims.worker_in_transaction, begun=False)
        chaos.report.inject("SIGSTOP of a worker amid a transaction", hits=True)
        time.sleep(LOST_HINT.total_seconds())  # from now on the clock, too, wants that swarm
        with muted():
            other = chaos.submit()
        took = chaos.settle(other)
        chaos.report.at_most("worker asleep in a transaction: others wait s", took, NEXT_LOOK, speed=True)
        caught.release()
        chaos.settle(held)


def clock_asleep(chaos: Chaos) -> None:
    """The clock sleeps while things are due: it does them when it wakes."""
    for _ in range(chaos.size.stops):
        pk = chaos.submit()
        chaos.report.inject("SIGSTOP of the clock", hits=victims.ticker(chaos.of))
        time.sleep(ASLEEP)
        go_on(chaos.of.tree(TICKER))
        chaos.settle(pk)


def runners_asleep(chaos: Chaos) -> None:
    """A runner sleeps with all its agents: their work goes to others, and late reports are refused."""
    for number in range(chaos.size.stops):
        name = RUNNERS[number % len(RUNNERS)]
        held = chaos.samples.at_work(name)
        pids = chaos.of.stop(name)
        chaos.report.inject("SIGSTOP of a runner beyond its lease", hits=bool(held))
        _lose(chaos, held)
        # The agents first: a runner that wakes is told what is stale, and ends them before they have said a word.
        go_on(pids[1:])
        time.sleep(1)
        go_on(pids[:1])


def webs_asleep(chaos: Chaos) -> None:
    """All web processes sleep: no heartbeat is heard, so work is lost; what agents report meanwhile comes too late."""
    for _ in range(chaos.size.stops):
        held = chaos.samples.at_work(*RUNNERS)
        pids = [pid for name in WEBS for pid in chaos.of.stop(name)]
        chaos.report.inject("SIGSTOP of all web processes beyond the lease", hits=bool(held))
        _lose(chaos, held)
        go_on(pids)


def _lose(chaos: Chaos, held: tuple[UUID, ...]) -> None:
    """Wait until the clock has given up on these executions."""
    time.sleep(ASLEEP)
    wait_for(lambda: not chaos.samples.live_of(held), "silent executions are not given up", seconds=60)
