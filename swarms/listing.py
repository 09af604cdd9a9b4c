"""Swarms as rows of a list, by pages, read with few queries."""

from dataclasses import dataclass
from uuid import UUID

from django.db.models import Count, QuerySet

from swarms.models import Approval, Node, Plan, Swarm
from swarms.states import SWARM_ENDED, NodeState, PlanState, SwarmState


@dataclass(frozen=True)
class Row:
    """A swarm in a list."""

    swarm: Swarm
    done: int
    total: int
    waiting: int
    """How much of it waits for a person: questions, and a plan that nobody has."""

    @property
    def share(self) -> float:
        """Done nodes, in percent."""
        return round(100 * self.done / self.total, 1) if self.total else 0.0


@dataclass(frozen=True)
class Page:
    """Some rows of a list, the newest first."""

    rows: list[Row]
    older: UUID | None
    """The swarm before which the next page begins, if there is one."""


def page(swarms: QuerySet[Swarm], *, most: int, before: UUID | None = None) -> Page:
    """At most so many swarms with their progress, those that are older than `before`."""
    found = swarms.select_related("project", "goal", "goal__created_by").order_by("-pk")
    if before is not None:
        found = found.filter(pk__lt=before)
    some = list(found[: most + 1])
    shown = some[:most]
    return Page(_counted(shown), shown[-1].pk if len(some) > most else None)


def _counted(swarms: list[Swarm]) -> list[Row]:
    nodes = Node.objects.filter(swarm__in=swarms, dropped_by=None).values_list("swarm")
    total = dict(nodes.annotate(Count("pk")))
    done = dict(nodes.filter(state=NodeState.SUCCEEDED).annotate(Count("pk")))
    asked = Approval.objects.filter(swarm__in=swarms, state="pending").values_list("swarm")
    waiting = dict(asked.annotate(Count("pk")))
    for swarm in _without_plan([swarm for swarm in swarms if swarm.state == SwarmState.PLANNING]):
        waiting[swarm] = waiting.get(swarm, 0) + 1
    return [Row(swarm, done.get(swarm.pk, 0), total.get(swarm.pk, 0), waiting.get(swarm.pk, 0)) for swarm in swarms]


def _without_plan(planning: list[Swarm]) -> list[UUID]:
    """Those whose last plan has faults: a person must give one, or ask for another."""
    if not planning:
        return []
    last = Plan.objects.filter(swarm__in=planning, node=None).order_by("swarm", "-version").distinct("swarm")
    return [swarm for swarm, state in last.values_list("swarm", "state") if state == PlanState.INVALID]


def live_swarms() -> QuerySet[Swarm]:
    """Swarms that are not over."""
    return Swarm.objects.exclude(state__in=SWARM_ENDED)
