"""How live transcripts are shown: a part as soon as it is there, and again when its state changes."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from django.template.loader import render_to_string

from sessions import fragments, renderers
from sessions.models import Event, Session
from sessions.renderers import Swap

TRANSCRIPT = "transcript"


class Transcripts:
    """Implements sessions.renderers.Renderer for sessions."""

    def each(self, events: Sequence[Event]) -> Sequence[Sequence[Swap]]:
        """See the protocol. Of several events about one part only the last brings it: it is shown as it is now."""
        last = {event.payload["part"]: place for place, event in enumerate(events) if event.kind == "part.recorded"}
        shown: list[Sequence[Swap]] = renderers.nothing(events)
        session = Session(pk=UUID(events[0].subject.partition(":")[2]))
        for turn in fragments.turns(session, [UUID(part) for part in last]):
            for part in turn.parts:
                alone = fragments.Turn(turn.message, [part])
                html = render_to_string("sessions/_turns.html", {"turns": [alone]})
                shown[last[str(part.part.pk)]] = [Swap(TRANSCRIPT, html)]
        return shown

    def changes(self, event: Event) -> bool:
        """See the protocol: steps cost tokens, messages say which model answered, an import brings both."""
        is_step = event.kind == "part.recorded" and event.payload["kind"] == "step"
        return is_step or event.kind in ("message.recorded", "session.ended", "session.imported")

    def rest(self, topic: str, kinds: Collection[str], known: dict[str, Any]) -> Sequence[Swap]:
        """See the protocol: what the session used, and that it is over."""
        session = Session.objects.get(pk=UUID(topic.partition(":")[2]))
        found = []
        for name in ("figures", "nothing"):
            html = render_to_string(f"sessions/_{name}.html", {"session": session})
            if known.get(name) != html:
                known[name] = html
                found.append(Swap(f"{topic}/{name}", html))
        return found
