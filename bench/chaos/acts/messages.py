"""Messages and the broker: hints only, so losing them costs time and nothing else."""

import os
import signal
import time

import redis
from django.conf import settings

from bench.chaos.chaos import Chaos
from bench.chaos.mute import muted
from bench.chaos.platform import MUTE, RUNNERS, WORKERS, go_on
from bench.chaos.writers import Writers
from config.services import ensure
from config.services.embedded import marks

LOST, WIPED, DRAINED = 3.0, 5.0, 5.0
"""Seconds that it may cost at most: hints lost, broker wiped, backlog after an absence."""
LEAST_WRITES = 3


def hints_lost(chaos: Chaos) -> None:
    """Every message that the only worker sends, or we, gets lost: the reconciler alone drives."""
    usual = min(chaos.settle(chaos.submit()) for _ in range(3))
    asleep = [pid for name in WORKERS for pid in chaos.of.stop(name)]
    go_on(chaos.of.tree(MUTE))
    for _ in range(chaos.size.hints):
        with muted():
            pk = chaos.submit()
        chaos.report.inject("swarm of which every hint is lost", hits=True)
        added = chaos.settle(pk) - usual
        chaos.report.at_most("all hints lost: added s", added, LOST, speed=True)
    lost = chaos.of.said(MUTE).count("hint not sent")
    chaos.report.recovered["hints that got lost, and were found by the reconciler"] += lost + chaos.size.hints
    chaos.of.kill(MUTE)
    go_on(asleep)


def broker_wiped(chaos: Chaos) -> None:
    """FLUSHALL while messages wait and a swarm is at work: both swarms end all the same."""
    usual = min(chaos.settle(chaos.submit()) for _ in range(3))
    for _ in range(chaos.size.wipes):
        first = chaos.submit()
        time.sleep(chaos.dice.uniform(0.0, 0.15))
        pids = [pid for name in WORKERS for pid in chaos.of.stop(name)]
        second = chaos.submit()
        wiped = flush()
        chaos.report.inject("FLUSHALL", hits=bool(wiped))
        chaos.report.recovered["messages that were wiped"] += wiped
        began = time.monotonic()
        go_on(pids)
        chaos.settle(first, second)
        chaos.report.at_most("broker wiped: added s", time.monotonic() - began - usual, WIPED, speed=True)


def flush() -> int:
    """Wipe all of Valkey. Returns how many messages waited there, or were not acknowledged."""
    with redis.Redis.from_url(settings.BROKER_URL) as client:
        waiting = sum(client.hlen(key) for key in client.scan_iter("dramatiq:*.msgs"))
        client.flushall()
    return int(waiting)


def valkey_away(chaos: Chaos) -> None:
    """Valkey is killed and stays away: programs write over HTTP, and we in process, as if nothing had happened."""
    held = chaos.samples.at_work(*RUNNERS)
    os.kill(marks(chaos.of.at.folder)["valkey"].pid, signal.SIGKILL)
    seconds = chaos.size.valkey_seconds
    chaos.report.inject(f"Valkey killed, and away for {seconds:g} s", hits=bool(held))
    with Writers(chaos.samples, chaos.of.web.port) as writers:
        until, swarms, failed = time.monotonic() + seconds, [], 0
        while time.monotonic() < until:
            try:
                swarms.append(chaos.submit())
            except Exception as error:
                failed += 1
                print(f"a write in process failed while Valkey was away: {error!r}", flush=True)
            time.sleep(0.5)
    ensure(chaos.of.at.folder, only=("valkey",), bound=True)
    chaos.report.at_most("Valkey away: writes that failed, in process", failed, 0)
    chaos.report.at_most("Valkey away: writes that failed, over HTTP", writers.failed, 0)
    least = LEAST_WRITES * (1 if seconds < 10 else 3)
    chaos.report.at_least("Valkey away: writes made, in process", len(swarms), least)
    chaos.report.at_least("Valkey away: writes made, over HTTP", writers.made, least)
    chaos.report.notes.append(f"The slowest write over HTTP while Valkey was away took {writers.slowest:.2f} s.")
    drained = chaos.settle(*swarms)
    chaos.report.at_most("Valkey back: backlog done after s", drained, DRAINED, speed=True)
