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
    told = [(event, words.tell(event.kind, event.payload)) for event in found[: 3 * LENGTH]]
    lines = [(event, said) for event, said in told if said][:LENGTH]
    people = _people(event for event, _ in lines)
    return [Item(event, said, people.get(event.actor, "")) for event, said in lines]


def _people(events: Iterable[Event]) -> dict[str, str]:
    ids = {event.actor for event in events if event.actor.startswith("user:")}
    users = User.objects.filter(pk__in=[actor.removeprefix("user:") for actor in ids])
    return {f"user:{user.pk}": str(user) for user in users}
