"""Swarms as rows of a list, by pages, read with few queries."""

from dataclasses import dataclass
from uuid import UUID

from django.db.models import Count, QuerySet

from swarms.models import Approval, Node, Swarm
from swarms.states import SWARM_ENDED, NodeState


@dataclass(frozen=True)
class Row:
    """A swarm in a list."""

    swarm: Swarm
    done: int
    total: int
    waiting: int

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
    return [Row(swarm, done.get(swarm.pk, 0), total.get(swarm.pk, 0), waiting.get(swarm.pk, 0)) for swarm in swarms]


def live_swarms() -> QuerySet[Swarm]:
    """Swarms that are not over."""
    return Swarm.objects.exclude(state__in=SWARM_ENDED)
