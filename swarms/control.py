"""Nodes that the control plane itself carries out: claimed, completed and followed up without leaving the worker.

One statement a step completes what was claimed, releases what waited for it, claims the most critical of that and tells
of it all (DESIGN.md: the direct call). What is claimed has a lease and a fence like any other attempt.
"""

import json
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connection

from swarms import engine, hints, progress
from swarms.models import Swarm
from swarms.states import SWARM_STARTS
from tenants import turns
from tenants.context import PUBLIC, in_schema
from tenants.faults import crash_point

logger = structlog.get_logger(__name__)

BATCH = 256
"""Nodes that one step claims at most: what a crash between two steps can leave to the reaper."""
SLICE_SECONDS = 0.05
"""How long one swarm is served until it is asked whose turn it is."""
TURN_SECONDS = 10.0
"""How long one message is worked on; what is left is hinted again."""
COST = 0.01
"""A node's share of a turn: it costs no runner and no model."""
_STEP = "SELECT claimed, stale, lanes, asks, waits, is_over FROM swarms_step(%s, %s, %s, %s, %s, %s)"


@dataclass(frozen=True)
class Step:
    """What one step did: the attempts that it claimed, how many reports were stale, and what waits now."""

    claimed: list[dict[str, str]]
    stale: int
    lanes: dict[str, int]
    asks: int
    waits: bool
    is_over: bool


def lease() -> timedelta:
    """How long a worker may be silent about what it claimed."""
    return timedelta(seconds=settings.LEASE_SECONDS)


def step(cursor: Any, swarm_id: UUID, done: list[dict[str, str]], *, claim: int) -> Step:
    """Complete the attempts in `done` (those whose fence is not the live one are refused) and claim up to `claim`."""
    attempts, fences = [one["attempt"] for one in done], [one["fence"] for one in done]
    cursor.execute(_STEP, [turns.current_team_id(), swarm_id, attempts, fences, claim, lease()])
    claimed, stale, lanes, asks, waits, is_over = cursor.fetchone()
    return Step(json.loads(claimed), stale, json.loads(lanes), asks, waits, is_over)


def serve() -> int:
    """Carry out what waits in the control lane, over all teams in fair order. Returns how many nodes were done."""
    ends, count = time.monotonic() + TURN_SECONDS, 0
    while (turn := _next()) and time.monotonic() < ends:
        with in_schema(turn.schema):
            done = _Shift(turn.swarm, ends).run()
            if not done and not Swarm.objects.filter(pk=turn.swarm, state__in=SWARM_STARTS).exists():
                turns.put_off_control(turn.swarm, after=hints.LOST_HINT)  # those behind must not wait for it
            count += done
    if turn is not None:
        with in_schema(turn.schema):
            hints.step(turn.swarm)  # time is up, and something waits
    return count


def _next() -> turns.ControlTurn | None:
    with in_schema(PUBLIC):
        return turns.next_control()


class _Shift:
    """One swarm is served until nothing of it waits, or another team's turn has come."""

    def __init__(self, swarm_id: UUID, ends: float) -> None:
        self.swarm_id, self.ends = swarm_id, ends
        self.looked, self.charged, self.done = time.monotonic(), 0, 0
        self.yields = self.called = False

    def run(self) -> int:
        """Claim, complete, claim what follows. Returns how many nodes were done."""
        turns.due("step", self.swarm_id, after=lease())
        held: list[dict[str, str]] = []
        with connection.cursor() as cursor:
            while True:
                took = step(cursor, self.swarm_id, held, claim=0 if self.yields else BATCH)
                self.done += len(held) - took.stale
                held = took.claimed
                crash_point("control.stepped")
                self._follow(took)
                if not held:
                    break
                crash_point("control.claimed")
                if time.monotonic() - self.looked > SLICE_SECONDS:
                    self._look()
        if bill := self._bill():
            turns.charge_team(bill)
        return self.done

    def _follow(self, took: Step) -> None:
        if took.stale:
            logger.warning("stale completions refused", swarm=str(self.swarm_id), count=took.stale)
        # More than one step can hold: another worker may help, once.
        helps = took.waits and not self.called
        self.called = self.called or took.waits
        lanes = {lane: n for lane, n in took.lanes.items() if lane != "control" or helps}
        if lanes:
            progress.wake(self.swarm_id, lanes)
        if took.asks or took.is_over:
            engine.advance(self.swarm_id)

    def _look(self) -> None:
        """Whether somebody else's turn has come, and whether we are still alive to those who look."""
        is_others_turn = turns.served(self._bill(), "step", self.swarm_id, after=lease())
        self.looked = time.monotonic()
        self.yields = self.looked > self.ends or is_others_turn

    def _bill(self) -> float:
        """What was done and is not paid yet, in turns."""
        bill, self.charged = (self.done - self.charged) * COST, self.done
        return bill
