"""Decisions of a team's swarms as people and programs see them: what, why, by whom, and where."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db.models import CharField, QuerySet, Value
from django.db.models.functions import Cast, Concat

from sessions import decisions
from sessions.models import Event
from swarms import words
from swarms.models import Swarm
from tenants.models import User

LONGEST = 200
"""Characters of what is looked for."""
_WORDS = {decisions.RULES: "the rules for plans"}


@dataclass(frozen=True)
class Decision:
    """One decision."""

    event: Event
    by: str
    """user:<uuid>, rules, or who of the platform."""
    name: str
    """The same for people to read."""
    said: words.Sentence
    swarm: Swarm | None

    @property
    def node(self) -> str:
        """Key of the node that it is about; empty: the swarm as a whole."""
        return str(self.event.payload.get("node", ""))

    @property
    def approval(self) -> str:
        """Id of the approval that it answers, if it answers one."""
        return str(self.event.payload.get("approval", ""))


@dataclass(frozen=True)
class Wanted:
    """What is looked for; empty: everything."""

    words: str = ""
    who: str = ""
    project: str = ""
    """Short name of a project."""
    number: int | None = None
    """Number of a swarm in that project."""

    @classmethod
    def asked(cls, given: Mapping[str, str], number: str) -> "Wanted":
        """From the parameters of an address; `number` names that of the swarm. Raises ValueError when that is none."""
        texts = {name: given.get(name, "").replace("\0", "").strip()[:LONGEST] for name in ("q", "who", "project")}
        text = given.get(number, "").strip()
        if text and not (text.isascii() and text.isdecimal() and len(text) < 10):
            raise ValueError(f"{number} is the number of a swarm")
        return cls(texts["q"], texts["who"], texts["project"], int(text) if text else None)

    @property
    def is_all(self) -> bool:
        return self == Wanted()


def found(wanted: Wanted, *, before: UUID | None = None, most: int) -> tuple[list[Decision], UUID | None]:
    """The newest decisions, at most so many, and the id after which the next ones follow, if there are more."""
    subjects: QuerySet | None = None
    if wanted.project or wanted.number is not None:
        swarms = Swarm.objects.all()
        swarms = swarms.filter(project__slug=wanted.project) if wanted.project else swarms
        swarms = swarms.filter(number=wanted.number) if wanted.number is not None else swarms
        subjects = swarms.values_list(Concat(Value("swarm:"), Cast("id", CharField())), flat=True)
    rows = decisions.found(words=wanted.words, who=wanted.who, subjects=subjects, before=before)[: most + 1]
    events = list(rows)
    return _told(events[:most]), events[most - 1].pk if len(events) > most else None


def _told(events: Sequence[Event]) -> list[Decision]:
    by = {event.pk: decisions.decider(event) for event in events}
    ids = [who.removeprefix("user:") for who in by.values() if who.startswith("user:")]
    names = _WORDS | {f"user:{user.pk}": str(user) for user in User.objects.filter(pk__in=ids)}
    keys = {event.subject.removeprefix("swarm:") for event in events if event.subject.startswith("swarm:")}
    swarms = {f"swarm:{one.pk}": one for one in Swarm.objects.select_related("project").filter(pk__in=keys)}
    told = [(event, words.tell(event.kind, event.payload)) for event in events]
    return [
        Decision(event, by[event.pk], names.get(by[event.pk], f"the {by[event.pk]}"), said, swarms.get(event.subject))
        for event, said in told
        if said
    ]
