"""What happened in a swarm, line by line."""

from collections.abc import Iterable
from dataclasses import dataclass

from sessions.models import Event
from swarms import words
from swarms.models import Swarm
from tenants.models import User

LENGTH = 100


@dataclass(frozen=True)
class Item:
    """A line of a feed."""

    event: Event
    said: words.Sentence
    who: str = ""


def feed(swarm: Swarm, after: int = 0) -> list[Item]:
    """What happened, the newest first; `after` is the number of the last line that is known."""
    found = Event.objects.filter(subject=swarm.topic, seq__gt=after, kind__in=words.KINDS).order_by("-seq")
    return [item for _, item in lines(found[: 3 * LENGTH])][:LENGTH]


def lines(events: Iterable[Event]) -> list[tuple[int, Item]]:
    """The lines that these events make, each with the place of its event among them."""
    told = [(place, event, words.line(event.kind, event.payload)) for place, event in enumerate(events)]
    people = _people(event for _, event, said in told if said)
    return [(place, Item(event, said, people.get(event.actor, ""))) for place, event, said in told if said]


def _people(events: Iterable[Event]) -> dict[str, str]:
    ids = {event.actor for event in events if event.actor.startswith("user:")}
    if not ids:
        return {}
    users = User.objects.filter(pk__in=[actor.removeprefix("user:") for actor in ids])
    return {f"user:{user.pk}": str(user) for user in users}
