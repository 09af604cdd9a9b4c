"""What one team's pages are sent: events with the HTML that they add, rendered once for all who look.

Events keep their order. The rest of what a page shows of a topic (its nodes, its figures) is rendered after them, and
again at the earliest when as much time has passed as that took twice over, so that it never takes all of a processor.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import structlog
from channels.db import database_sync_to_async

from sessions import frames, renderers, topics
from sessions.frames import Frame
from sessions.metrics import PAGES_RENDERED, PAGES_SECONDS
from sessions.models import Event
from sessions.renderers import Swap

logger = structlog.get_logger(__name__)

BATCH = 100
LEAST_PAUSE_SECONDS = 0.03
"""Between two renderings of the rest of some topics."""

_each = database_sync_to_async(renderers.each, thread_sensitive=False)
_rest = database_sync_to_async(renderers.rest, thread_sensitive=False)


class Pages:
    """Renders for the pages of one team in this process; its task runs while there is something to render."""

    def __init__(self, schema: str, offer: Callable[[str, Frame], None]) -> None:
        """`offer` gives a frame to all pages that listen to a topic."""
        self._schema = schema
        self._offer = offer
        self._events: list[tuple[Event, bool]] = []
        self._owed: defaultdict[str, set[str]] = defaultdict(set)
        """Kinds of events by topic, since its rest was shown."""
        self._known: defaultdict[str, dict[str, Any]] = defaultdict(dict)
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    def take(self, event: Event, *, is_shown: bool) -> None:
        """An event that at least one page listens to; `is_shown`: one that named its topic, and is sent its HTML."""
        self._events.append((event, is_shown))
        self._news.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    def join(self, topic: str, *, is_ahead: bool) -> None:
        """Another page looks at this topic; `is_ahead`: at a later state than was told here so far.

        It may have been made between two changes of which the second takes back the first. Where the rest is still
        owed for the first, that is rendered once for both, looks like what was shown before, and must yet be sent.
        """
        if is_ahead or (self._task is not None and not self._task.done()):
            self._known.pop(topic, None)

    def drop(self) -> None:
        """All pages load anew: what waits is not needed."""
        self._events.clear()
        self._owed.clear()
        self._known.clear()

    def forget(self, topic: str) -> None:
        """No page looks at this topic any more."""
        self._owed.pop(topic, None)
        self._known.pop(topic, None)

    def close(self) -> None:
        """Nobody is here any more."""
        self.drop()
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        free_at = 0.0
        while self._events or self._owed:
            if self._events:
                await self._show_events()
            elif (pause := free_at - loop.time()) > 0:
                await self._wait_for_news(pause)
            else:
                began = loop.time()
                await self._show_rest()
                free_at = loop.time() + max(LEAST_PAUSE_SECONDS, 2 * (loop.time() - began))

    async def _wait_for_news(self, seconds: float) -> None:
        self._news.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            pass

    async def _show_events(self) -> None:
        batch, self._events = self._events[:BATCH], self._events[BATCH:]
        found = await self._rendered([event for event, is_shown in batch if is_shown])
        for event, _ in batch:
            swaps = found.get(event.pk)
            owed = swaps is not None and renderers.owes(event)
            if owed:
                self._owed[event.subject].add(event.kind)
            self._offer(event.subject, frames.for_page(event, swaps, owed=owed))
            if wide := topics.wider(event.subject):
                self._offer(wide, frames.for_page(event))  # who named both has it already

    async def _rendered(self, events: list[Event]) -> dict[UUID, Sequence[Swap] | None]:
        """What each of the events adds to pages, by its id; nothing where pages must look by themselves."""
        if not events:
            return {}
        try:
            with PAGES_SECONDS.labels("events").time():
                shown = await _each(self._schema, events)
        except Exception as error:
            # Whatever it was: no event may be lost for it.
            logger.warning("pages fetch what happened by themselves", team=self._schema, exc_info=error)
            return {}
        PAGES_RENDERED.inc(len(events))
        return {event.pk: swaps for event, swaps in zip(events, shown, strict=True)}

    async def _show_rest(self) -> None:
        owed, self._owed = self._owed, defaultdict(set)
        known = {topic: self._known[topic] for topic in owed}
        try:
            with PAGES_SECONDS.labels("rest").time():
                found = await _rest(self._schema, owed, known)
        except Exception as error:
            logger.warning("pages fetch their regions by themselves", team=self._schema, exc_info=error)
            found = dict.fromkeys(owed)
        for topic, swaps in found.items():
            if swaps is None:
                self._known.pop(topic, None)
            self._offer(topic, frames.swaps(topic, swaps))
