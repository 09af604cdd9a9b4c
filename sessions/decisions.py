"""What was decided, by whom and why: found by words, by who decided, by what it is about; the newest first."""

from collections.abc import Iterable
from uuid import UUID

from django.db.models import BooleanField, Q, QuerySet
from django.db.models.expressions import RawSQL

from sessions.kinds import DECISIONS
from sessions.models import Event
from sessions.procedures import DECISION_WORDS

PEOPLE, RULES = "people", "rules"
PLATFORM = ("engine", "coordinator", "policy", "operator")
"""Who decides beside people and the rules for plans, by the word in the event."""

_SAYS = f"{DECISION_WORDS} @@ websearch_to_tsquery('english', %s)"
_EARLIER = "(at, seq, id) < (SELECT at, seq, id FROM agent_sessions_event WHERE id = %s)"


def found(
    *,
    words: str = "",
    who: str = "",
    subjects: Iterable[str] | QuerySet | None = None,
    before: UUID | None = None,
) -> QuerySet[Event]:
    """Events of the kinds DECISIONS, the newest first.

    `words` as people type them into a search engine: all must be there, "as a phrase", or, -without. `who` is `people`,
    `user:<uuid>`, `rules` (which refuse plans) or one of PLATFORM. `subjects` are names, such as swarm:<uuid>. `before`
    is the id of the last one that is known: only earlier ones follow.
    """
    events = Event.objects.filter(kind__in=DECISIONS)
    if words.strip():
        events = events.filter(RawSQL(_SAYS, [words], output_field=BooleanField()))
    if who:
        events = events.filter(_by(who))
    if subjects is not None:
        events = events.filter(subject__in=subjects)
    if before is not None:
        events = events.filter(RawSQL(_EARLIER, [before], output_field=BooleanField()))
    return events.order_by("-at", "-seq", "-id")


def decider(event: Event) -> str:
    """Who decided: `user:<uuid>`, `rules` or one of PLATFORM."""
    if event.kind == "plan.refused":
        return RULES
    return str(event.payload["by"]) if event.kind == "decision.made" else event.actor


def _by(who: str) -> Q:
    person = Q(kind="decision.made", payload__by__startswith="user:")
    if who == PEOPLE:
        return Q(kind="approval.decided") | person
    if who.startswith("user:"):
        return Q(kind="approval.decided", actor=who) | Q(kind="decision.made", payload__by=who)
    return Q(kind="plan.refused") if who == RULES else Q(kind="decision.made", payload__by=who)
