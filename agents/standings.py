"""How runners stand, as pages show it. No event tells of that, so somebody looks, and hints."""

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from agents.placement import Seen, health
from sessions import deltas
from tenants.context import PUBLIC
from tenants.models import Runner

MISSED_BEATS = 3
"""After so many heartbeats a runner is taken for silent."""


def silence() -> timedelta:
    """How long a runner may be silent and still be given work."""
    return timedelta(seconds=settings.HEARTBEAT_SECONDS * MISSED_BEATS)


def connected() -> QuerySet[Runner]:
    """Runners of all teams that listen, and were heard lately."""
    return Runner.objects.exclude(channel="").filter(seen_at__gt=Now() - silence())


def is_connected(runner: Runner) -> bool:
    """Whether a runner that was just read is one of these: what it says of its work is heard."""
    return bool(runner.channel and runner.seen_at and timezone.now() - runner.seen_at < silence())


def standing(runner: Any, now: datetime | None = None) -> tuple[str, str]:
    """State and why of a runner, which comes with `held`: how many executions are placed on it."""
    silent = ((now or timezone.now()) - runner.seen_at).total_seconds() if runner.seen_at else None
    seen = Seen(runner.name, bool(runner.channel), silent, runner.held, runner.capacity)
    return health(seen, beat=settings.HEARTBEAT_SECONDS, missed=MISSED_BEATS)


class Watch:
    """Has pages that show runners fetch them anew when they look different: linked, gone, silent, full, back."""

    def __init__(self) -> None:
        """Whatever is seen first is no change."""
        self._known: dict[str, set[tuple[Any, ...]]] | None = None

    def look(self) -> None:
        """Compare with the last look; one statement, and a hint for each team whose runners changed."""
        found, now = defaultdict[str, set[tuple[Any, ...]]](set), timezone.now()
        for runner in Runner.objects.select_related("team").annotate(held=Count("placements")):
            schema = runner.team.schema_name if runner.team else PUBLIC
            shown = (runner.capacity, runner.spares, runner.sandbox, runner.version, runner.trusted)
            found[schema].add((runner.pk, runner.name, *standing(runner, now), *shown))
        known, self._known = self._known, dict(found)
        if known is not None:
            for schema in known.keys() | found.keys():
                if known.get(schema) != found.get(schema):
                    deltas.hint(schema, "runner.seen")
