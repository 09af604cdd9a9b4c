"""Reading a swarm again and again, in short looks that outlive a lost connection."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from agents.models import Execution
from sessions.models import Event
from swarms import board, conditions, words
from swarms.models import Approval, Swarm
from swarms.states import SWARM_ENDED, PlanState
from tenants.context import in_schema

T = TypeVar("T")
LOOK_SECONDS = 0.2
PATIENCE_SECONDS = 60.0
"""How long the database may be away."""
_TOLD_OF_NODES = ("failed", "cancelled", "skipped")
"""Moves of a node that nothing else tells: attempts, checks, merges and approvals tell the others."""


@dataclass(frozen=True)
class Told:
    """An event of the swarm in words."""

    at: datetime
    kind: str
    sentence: words.Sentence


@dataclass(frozen=True)
class Worker:
    """Somebody at work."""

    agent: str
    title: str
    doing: str
    is_agent: bool
    """Asks a model; false for checks."""


@dataclass(frozen=True)
class View:
    """A swarm at one moment, with what was told since the look before."""

    swarm: Swarm
    now: datetime
    cards: tuple[board.Card, ...] = ()
    workers: tuple[Worker, ...] = ()
    asks: tuple[Approval, ...] = ()
    meters: board.Meters = field(default_factory=board.Meters)
    told: tuple[Told, ...] = ()
    stuck: tuple[str, ...] = ()
    """Why nothing can go on without a person; empty while something can."""

    @property
    def ended(self) -> bool:
        return self.swarm.state in SWARM_ENDED

    @property
    def seconds(self) -> float:
        """Since the goal was stated."""
        return ((self.swarm.ended_at or self.now) - self.swarm.created_at).total_seconds()


class Watch:
    """Looks at one swarm; remembers which events were told."""

    def __init__(self, schema: str, swarm_id: UUID) -> None:
        self.schema, self.swarm_id = schema, swarm_id
        self._last = 0
        self._view: View | None = None
        self.moved = time.monotonic()
        """When something last happened in the swarm."""

    def look(self) -> View:
        """The swarm now. Raises OperationalError when the database stays away."""
        return patiently(self._look)

    def _look(self) -> View:
        with in_schema(self.schema):
            # Events first: what is told is never ahead of the events that come with the next look.
            rows = list(Event.objects.filter(subject=f"swarm:{self.swarm_id}", seq__gt=self._last).order_by("seq"))
            workers = tuple(_worker(execution) for execution in board.at_work(swarm=self.swarm_id))
            if self._view and not rows:
                # Every change is an event; without one only what agents do can be new.
                return replace(self._view, now=timezone.now(), workers=workers, told=())
            swarm = Swarm.objects.select_related("project", "goal").get(pk=self.swarm_id)
            plan = board.last_plan(swarm)
            cards = board.cards(swarm) or board.planned(plan.document if plan else None)
            stuck = [plan.because, *plan.faults] if plan and plan.state == PlanState.INVALID else []
            view = View(
                swarm,
                timezone.now(),
                tuple(cards),
                workers,
                tuple(board.asks(swarm)),
                board.meters(swarm),
                tuple(told for row in rows if (told := _tell(row))),
                tuple(dict.fromkeys(stuck)),
            )
        self._view = view
        if rows:
            self._last, self.moved = rows[-1].seq, time.monotonic()
        return view

    def why(self) -> list[str]:
        """What the nodes wait for, in words."""

        def read() -> list[str]:
            with in_schema(self.schema):
                swarm = Swarm.objects.get(pk=self.swarm_id)
                nodes = list(swarm.nodes.order_by("key"))
                found = conditions.of_nodes(swarm, nodes)
                return [f"{node.key} {why.text}. {why.remedy}" for node in nodes for why in found.get(node.pk, [])]

        return patiently(read)


def patiently(read: Callable[[], T]) -> T:
    """What `read` gives, tried again while the database is away. Raises OperationalError in the end."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return read()
        except (OperationalError, InterfaceError):
            connection.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _worker(execution: Execution) -> Worker:
    session = execution.session
    return Worker(execution.agent, session.title, session.doing, is_agent=execution.kind != "check")


def _tell(event: Event) -> Told | None:
    facts = event.payload
    match event.kind:
        case "node.moved" if facts["after"] not in _TOLD_OF_NODES:
            return None
        case "nodes.moved":
            facts = {"moves": [move for move in facts["moves"] if move["after"] in _TOLD_OF_NODES]}
        case "approval.decided" if facts["automatic"]:
            return None  # the scripted approver says so itself
    sentence = words.line(event.kind, facts)
    return Told(event.at, event.kind, sentence) if sentence else None
