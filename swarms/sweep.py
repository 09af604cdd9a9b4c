"""The slow look beside the clock's fast one: whatever lost what it waits for is found by its rows, and mended."""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now
from django.utils import timezone
from prometheus_client import Counter, Gauge
from structlog.contextvars import bound_contextvars

from agents import budgets, executions, metering
from agents.states import ExecutionState
from sessions.transitions import move
from swarms import attempts, checks, hints, orphans, progress, settlement
from swarms.models import Attempt, CheckRun, Node, Swarm
from swarms.states import NODE_LIVE, CheckRunState, NodeState, SwarmState
from tenants import turns
from tenants.context import PUBLIC, in_schema
from tenants.faults import crash_point
from tenants.trace import begin_trace

logger = structlog.get_logger(__name__)

SECONDS = 1.0
"""How long one sweep takes at most; the next one goes on with the teams that are left."""
OTHERS = 5
"""Teams that a sweep looks at although nothing of theirs is live: what lost its last public row is found too."""
FORGET_SECONDS = 60.0
_BY_INDEX = "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off"
_UNWANTED = "ticket of a node that is not ready"

MENDED = Counter("waggle_mended_total", "Rows that had lost what they wait for, by what was lost.", ["what"])
STUCK = Gauge("waggle_stuck_swarms", "Swarms that have not ended and that nothing will wake.")


@contextmanager
def _locked(swarm_id: UUID) -> Iterator[Swarm | None]:
    """The swarm, locked, in a transaction; None when somebody works on it: then the next sweep looks again."""
    with transaction.atomic():
        rows = Swarm.objects.select_for_update(no_key=True, of=("self",), skip_locked=True)
        swarm = rows.select_related("project").filter(pk=swarm_id).first()
        if swarm is not None:
            begin_trace(swarm.trace)
        yield swarm


def _queue_node(node_id: UUID) -> None:
    node = Node.objects.get(pk=node_id)
    with _locked(node.swarm_id) as swarm:
        node.refresh_from_db()
        if swarm is not None and node.state == NodeState.READY:
            progress.queue(swarm, [node], delay=max(timedelta(0), node.not_before - timezone.now()))


def _queue_plan(plan_id: UUID) -> None:
    turns.queue("plan", plan_id, priority=1000)


def _queue_checks(run_id: UUID) -> None:
    turns.queue("checks", run_id, priority=checks.PRIORITY, cost=0.2)


def _lose_checks(run_id: UUID) -> None:
    with _locked(CheckRun.objects.values_list("swarm", flat=True).get(pk=run_id)) as swarm:
        if swarm is not None and CheckRun.objects.filter(pk=run_id, state=CheckRunState.RUNNING).exists():
            settlement.lose_checks(run_id, "lost: no runner has them")


def _lose_execution(execution_id: UUID) -> None:
    executions.end(execution_id, ExecutionState.LOST, reason="lost", because="no runner has it: its placement is gone")


def _follow_node(node_id: UUID) -> None:
    """A node at work of which no attempt is live."""
    with _locked(Node.objects.values_list("swarm", flat=True).get(pk=node_id)) as swarm:
        node = Node.objects.get(pk=node_id)
        if swarm is None or node.state not in NODE_LIVE or node.attempts.filter(ended_at=None).exists():
            return
        node.swarm = swarm
        if swarm.state in (SwarmState.CANCELLING, SwarmState.FAILING):
            move(node, NodeState.CANCELLED, because=f"the swarm is {swarm.state}", ended_at=timezone.now())
        else:
            attempts.follow(node, reason="lost", because="none of its attempts is live")
        hints.advance(swarm.pk)


def lose_attempt(attempt_id: UUID) -> None:
    """Nobody works on this attempt any more: its runner's execution is over, or our own worker is gone."""
    with _locked(Attempt.objects.values_list("node__swarm", flat=True).get(pk=attempt_id)) as swarm:
        attempt = Attempt.objects.select_related("node__swarm__project", "execution").get(pk=attempt_id)
        if swarm is None or attempt.is_ended or (attempt.execution and attempt.execution.is_live):
            return
        because = "its execution is over" if attempt.execution else "its worker was silent for a whole lease"
        if attempt.execution is None and (attempt.lease_until is None or attempt.lease_until > timezone.now()):
            return
        attempts.fail(attempt, reason="lost", because=because)
        hints.advance(swarm.pk)


AT_ONCE = 50
"""Attempts that end under one lock of their swarm."""


def lose_silent(swarm_id: UUID) -> None:
    """Ends the attempts of a swarm whose workers, processes of ours, were silent for a whole lease.

    Under one lock, for which it waits: whoever gets the first of these nodes is at work on the swarm at once, and holds
    it again and again.
    """
    silent = Attempt.objects.select_related("node__swarm__project").filter(
        node__swarm=swarm_id, execution=None, state__in=["leased", "running"], lease_until__lt=Now()
    )
    found = silent.exists()
    while found:
        with transaction.atomic():
            swarm = Swarm.objects.select_for_update(no_key=True, of=("self",)).get(pk=swarm_id)
            begin_trace(swarm.trace)
            rows = list(silent.order_by("pk")[:AT_ONCE])
            for attempt in rows:
                attempts.fail(attempt, reason="lost", because="its worker was silent for a whole lease")
            hints.advance(swarm.pk)
        found = len(rows) == AT_ONCE


def _not_scheduled(node_id: UUID) -> None:
    with _locked(Node.objects.values_list("swarm", flat=True).get(pk=node_id)) as swarm:
        node = Node.objects.get(pk=node_id)
        if swarm is not None and node.state == NodeState.READY:
            minutes = swarm.project.start_minutes
            because = f"not_scheduled: ready for more than {minutes} minutes, and nobody took it"
            move(node, NodeState.FAILED, because=because, ended_at=timezone.now())
            turns.unqueue("node", node.pk)
            progress.release(swarm.pk, ended=[node.pk])
            hints.advance(swarm.pk)


MEND: dict[str, Callable[[UUID], object]] = {
    "ready node without a ticket": _queue_node,
    "plan without a ticket": _queue_plan,
    "check run without a ticket": _queue_checks,
    "check run without a live execution": _lose_checks,
    "execution without a placement": _lose_execution,
    "placement without a live execution": executions.let_go,
    "node without a live attempt": _follow_node,
    "attempt whose execution has ended": lose_attempt,
    "attempt of a worker that is gone": lose_attempt,
    "node that nobody took": _not_scheduled,
    "control-plane node without a hint": hints.step,
    "merge without a hint": hints.merge,
}
"""What is done about each thing that is found by orphans.FIND, and by orphans.NODES."""
NOWHERE = UUID(int=0)


@dataclass
class Place:
    """How far a team's nodes and tickets were looked through; the next sweep goes on from there."""

    swarm: UUID = NOWHERE
    key: str = ""
    subject: UUID = NOWHERE


class Sweep:
    """Walks over the teams, a second at a time."""

    def __init__(self) -> None:
        self._waiting: list[tuple[UUID, str]] = []
        self._last = NOWHERE
        self._places: dict[UUID, Place] = defaultdict(Place)
        self._stuck: dict[UUID, tuple[float, bool]] = {}

    def run(self) -> int:
        """Look at teams until all have had their turn or time is up. Returns how many things were mended."""
        began, mended = time.monotonic(), 0
        if not self._waiting:
            self._waiting = self._teams()
        while self._waiting and time.monotonic() - began < SECONDS:
            team, schema = self._waiting.pop()
            with in_schema(schema), bound_contextvars(team=schema):
                mended += sum(self.look(team).values())
        self._stuck = {key: seen for key, seen in self._stuck.items() if began - seen[0] < FORGET_SECONDS}
        STUCK.set(sum(again for _, again in self._stuck.values()))
        return mended

    def _teams(self) -> list[tuple[UUID, str]]:
        with in_schema(PUBLIC), _looking() as cursor:
            cursor.execute(orphans.TEAMS)
            live = dict(cursor.fetchall())
            cursor.execute(orphans.NEXT_TEAMS, [self._last, OTHERS])
            others = cursor.fetchall()
        self._last = others[-1][0] if len(others) == OTHERS else NOWHERE
        return list((live | dict(others)).items())

    def look(self, team: UUID) -> dict[str, int]:
        """Find and mend in the current schema. Returns how many of each kind."""
        found = {"due time": _count("due time", partial(_ids, orphans.NOT_DUE, team))}
        found[_UNWANTED] = _count(_UNWANTED, partial(self._take_tickets, team))
        for what, ids in self._nodes(team).items():
            found[what] = _mend(what, ids)
        found |= {what: _mend(what, _ids(sql, team)) for what, sql in orphans.FIND.items()}
        found["reservation of money"] = _count("reservation of money", lambda: range(budgets.release_orphans()))
        found["model call that nobody told of"] = _count("model call", lambda: range(metering.book_unheard()))
        self._wake(_ids(orphans.STUCK, team))
        for what, count in found.items():
            if count:
                MENDED.labels(what).inc(count)
                logger.warning("something was lost and is mended", what=what, count=count)
        return {what: count for what, count in found.items() if count}

    def _nodes(self, team: UUID) -> dict[str, list[UUID]]:
        """What is wrong with the next nodes, by what it is."""
        place, found = self._places[team], defaultdict[str, list[UUID]](list)
        with _looking() as cursor:
            cursor.execute(orphans.WALK_NODES, {"swarm": place.swarm, "key": place.key, "slice": orphans.SLICE})
            goes_on, swarm, key, told = cursor.fetchone()
        place.swarm, place.key = (swarm, key) if goes_on else (NOWHERE, "")
        for what, node in json.loads(told):
            found[what].append(UUID(node))
        return found

    def _take_tickets(self, team: UUID) -> range:
        """Of the next tickets those that nobody waits for are taken away. As many as these were."""
        place = self._places[team]
        with _looking() as cursor:
            words = {"team": team, "subject": place.subject, "slice": orphans.SLICE}
            cursor.execute(orphans.WALK_TICKETS, words)
            goes_on, subject, count = cursor.fetchone()
        place.subject = subject if goes_on else NOWHERE
        return range(count)

    def _wake(self, swarms: list[UUID]) -> None:
        """Nothing will wake these: decide again; whom that does not help twice is reported."""
        for swarm in swarms:
            again = swarm in self._stuck
            if again and not self._stuck[swarm][1]:
                logger.error("a swarm is stuck: nothing it has will wake it", swarm=str(swarm))
            self._stuck[swarm] = (time.monotonic(), again)
            hints.advance(swarm)


def _ids(sql: str, team: UUID) -> list[UUID]:
    grace = timedelta(seconds=2 * settings.HEARTBEAT_SECONDS)
    words: dict[str, Any] = {"team": team, "grace": grace}
    with _looking() as cursor:
        cursor.execute(sql, words)
        return [row[0] for row in cursor.fetchmany(orphans.MOST)]


@contextmanager
def _looking() -> Iterator[Any]:
    """A cursor whose statement goes by keys: what is live is little beside what there was."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_BY_INDEX)
        yield cursor


def _count(what: str, take: Callable[[], Any]) -> int:
    try:
        return len(take())
    except Exception:
        # One thing that is broken must not hide the others.
        logger.exception("a look failed", what=what)
        return 0


def _mend(what: str, ids: list[UUID]) -> int:
    count = 0
    for one in ids:
        crash_point("sweep.found")
        try:
            MEND[what](one)
            count += 1
        except Exception:
            logger.exception("what was lost could not be mended", what=what, subject=str(one))
    return count
