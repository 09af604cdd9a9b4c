"""What pages show of events, made once for all who look: each app says how for the nouns that it owns.

A piece of HTML is the same for every member of the team. What depends on the viewer (buttons, forms) is never made
here: pages fetch it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

import structlog

from sessions.models import Event
from tenants.context import in_schema

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Swap:
    """HTML and where in pages it goes: what has this `data-place`, or a feed or a transcript (see static/js)."""

    place: str
    html: str


class Renderer(Protocol):
    """Shows the events of one kind of topic. Runs in the team's schema."""

    def each(self, events: Sequence[Event]) -> Sequence[Sequence[Swap]]:
        """What each event adds to pages. All are of one topic, in order; one list for each."""

    def changes(self, event: Event) -> bool:
        """Whether this event may change what `rest` shows."""

    def rest(self, topic: str, kinds: Collection[str], known: dict[str, Any]) -> Sequence[Swap]:
        """What else of the topic looks different after events of these kinds. `known` is what was shown before: empty
        at first, kept by this method, forgotten when nobody looks any more."""


_renderers: dict[str, Renderer] = {}


def register(noun: str, renderer: Renderer) -> None:
    """Let the app that owns `noun` say (from AppConfig.ready) how its topics are shown."""
    _renderers[noun] = renderer


def of(topic: str) -> Renderer | None:
    """Who shows this topic; None when pages fetch all of it themselves."""
    return _renderers.get(topic.partition(":")[0])


def each(schema: str, events: Sequence[Event]) -> list[Sequence[Swap] | None]:
    """What each event adds to pages; None where pages must look by themselves."""
    found: dict[int, Sequence[Swap]] = {}
    with in_schema(schema):
        by_topic = sorted(range(len(events)), key=lambda place: events[place].subject)
        for topic, places in groupby(by_topic, key=lambda place: events[place].subject):
            found |= _of_topic(topic, [(place, events[place]) for place in places])
    return [found.get(place) for place in range(len(events))]


def _of_topic(topic: str, events: Sequence[tuple[int, Event]]) -> Mapping[int, Sequence[Swap]]:
    renderer = of(topic)
    if renderer is None:
        return {}
    try:
        shown = renderer.each([event for _, event in events])
    except Exception:
        # One topic that cannot be shown must not keep the others from their pages.
        logger.exception("events could not be rendered, pages fetch them", topic=topic)
        return {}
    return dict(zip((place for place, _ in events), shown, strict=True))


def owes(event: Event) -> bool:
    """Whether the rest of its topic must be looked at because of this event."""
    renderer = of(event.subject)
    return renderer is not None and renderer.changes(event)


def rest(
    schema: str, changed: Mapping[str, Collection[str]], known: Mapping[str, dict[str, Any]]
) -> dict[str, Sequence[Swap] | None]:
    """What else looks different, by topic, after events of these kinds; None where it could not be made."""
    found: dict[str, Sequence[Swap] | None] = {}
    with in_schema(schema):
        for topic, kinds in changed.items():
            renderer = of(topic)
            if renderer is None:
                continue
            try:
                found[topic] = renderer.rest(topic, kinds, known[topic])
            except Exception:
                logger.exception("a topic could not be rendered, pages fetch it", topic=topic)
                found[topic] = None
    return found


def nothing(events: Collection[Event]) -> list[Sequence[Swap]]:
    """For renderers: none of the events adds anything."""
    return [[] for _ in events]
