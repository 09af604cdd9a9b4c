"""Subjects of events that a live view may listen to, and where Redis keeps a team's."""

from collections.abc import Callable
from uuid import UUID

from django.db.models import Q

from sessions.models import Session, Subject

TEAM = "team"
SWARMS = "swarms"
"""What happens to any swarm of the team, whatever swarms it has."""
NOUNS = ("project", "swarm", "session")
MOST, MOST_OF_PAGES = 20, 100
"""Topics that one stream may name: a program's, and one that all pages of a browser share."""

Finder = Callable[[UUID], bool]
_finders: dict[str, Finder] = {}


class UnknownTopic(ValueError):
    """No such topic in this team."""


def register(noun: str, finder: Finder) -> None:
    """Let the app that owns `noun` say (from AppConfig.ready) whether one exists that has no events yet."""
    _finders[noun] = finder


register("session", lambda pk: Session.objects.filter(pk=pk).exists())


def parse(names: list[str], most: int = MOST) -> frozenset[str]:
    """The topics of a query, in their one spelling. Raises UnknownTopic."""
    if not 1 <= len(names) <= most:
        raise UnknownTopic(f"name 1 to {most} topics")
    return frozenset(_spelled(name) for name in names)


def _spelled(name: str) -> str:
    if name in (TEAM, SWARMS):
        return name
    noun, _, key = name.partition(":")
    if noun not in NOUNS:
        raise UnknownTopic(name)
    try:
        return f"{noun}:{UUID(key)}"
    except ValueError:
        raise UnknownTopic(name) from None


def missing(topics: frozenset[str]) -> frozenset[str]:
    """Those of the topics that the team of this scope does not have."""
    rest = topics - {TEAM, SWARMS}
    rest -= frozenset(Subject.objects.filter(name__in=rest).values_list("name", flat=True))
    return frozenset(topic for topic in rest if not _exists(topic))


def _exists(topic: str) -> bool:
    noun, _, key = topic.partition(":")
    finder = _finders.get(noun)
    return finder is not None and finder(UUID(key))


def wider(topic: str) -> str | None:
    """The topic that stands for this one and all like it, if there is one."""
    return SWARMS if topic.startswith("swarm:") else None


def about(topics: frozenset[str]) -> Q:
    """Which events are about these topics."""
    named = Q(subject__in=topics)
    return named | Q(subject__startswith="swarm:") if SWARMS in topics else named


def stream_key(schema: str) -> str:
    """The Redis Stream with the latest events of a team."""
    return f"ev:{schema}"


def schema_of(key: str) -> str:
    """The team's schema, of the key of its stream or the name of its channel."""
    return key.partition(":")[2]


def live_channel(schema: str) -> str:
    """The Redis channel with the ephemeral progress of a team."""
    return f"live:{schema}"
