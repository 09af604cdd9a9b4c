"""What people say to agents at work: a row and an event first, then a hint; it comes with every heartbeat's answer
until the runner says that the agent has it."""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models.functions import Now

from agents.contracts import REVERTING, link
from agents.models import Execution, Steer
from agents.nudges import nudge
from agents.states import LIVE
from sessions import storable, talk
from sessions.events import acting, publish
from sessions.facts import TEXT_LENGTH
from sessions.models import Part, Session, Subject
from sessions.transcript import SessionOver
from tenants.ids import uuid7
from tenants.models import User
from tenants.roles import Permission
from tenants.trace import begin_trace

LONGEST = 8000
"""Characters that one may say at once."""
WORDLESS = {
    "interrupt": "Stop what you are doing.",
    "revert": "What you did since you were last told something is taken back.",
    "unrevert": "Nothing is taken back: go on from there.",
}
"""What stands in the transcript where nothing was said."""


class NotNow(ValidationError):
    """It is not possible in this state; the message says what is."""


def say(session: Session, text: str, *, by: User, key: UUID | None = None) -> Steer:
    """Say something to the agent of a session: it hears it before its next step. Raises ValidationError, NotNow."""
    return _steer(session, "message", _text(text), by, key)


def interrupt(session: Session, text: str = "", *, by: User, key: UUID | None = None) -> Steer:
    """Stop what the agent does at this moment, the call of its model or of a tool; then it hears the text, or waits a
    while for a word. Raises ValidationError, NotNow."""
    return _steer(session, "interrupt", _text(text) if text.strip() else "", by, key)


def revert(session: Session, *, by: User, key: UUID | None = None) -> Steer:
    """Take back what the agent did since it was told something last: it stops, forgets that, and its files are as they
    were; then it waits a while for a word. Once more: a turn further back. Raises ValidationError, NotNow."""
    return _steer(session, "revert", "", by, key)


def unrevert(session: Session, *, by: User, key: UUID | None = None) -> Steer:
    """Nothing is taken back, as long as the agent has not been told anything since. Raises ValidationError, NotNow."""
    return _steer(session, "unrevert", "", by, key)


def can_revert(execution: Execution) -> bool:
    """Whether its agent can have taken back what it did."""
    return execution.kind != "check" and execution.assignment.get("runtime") in REVERTING


def is_reverted(execution: Execution) -> bool:
    """Whether something is taken back of which the agent was told nothing since."""
    last = execution.steers.exclude(kind="answer").order_by("-created_at", "-pk").first()
    return last is not None and last.kind == "revert"


def answer(session: Session, question: UUID, text: str, *, by: User, key: UUID | None = None) -> Steer:
    """Answer a question of the agent; the first answer counts. Raises ValidationError, NotNow."""
    return _steer(session, "answer", _text(text), by, key, question)


def needed(part: Part) -> Permission:
    """What a member must be allowed to answer this question: a permission that an agent asks for is an approval."""
    return Permission.APPROVE if part.input.get("about") == "permission" else Permission.STATE_GOAL


def _text(given: str) -> str:
    text = storable.text(given).strip()
    if not text:
        raise ValidationError("Say something.")
    if len(text) > LONGEST:
        raise ValidationError(f"That is {len(text)} characters; say it in {LONGEST}.")
    return text


def _steer(
    session: Session, kind: link.SteerKind, text: str, by: User, key: UUID | None, question: UUID | None = None
) -> Steer:
    with transaction.atomic(), acting(f"user:{by.pk}"):
        execution = _at_work(session)
        begin_trace(execution.trace)
        # One after the other: two answers to a question, and the same words sent twice, meet here.
        list(Subject.objects.select_for_update(no_key=True).filter(name=session.subject))
        name = str(by)[: Steer._meta.get_field("name").max_length]
        words = {"kind": kind, "text": text, "question": question, "by": by.pk, "name": name}
        if key is not None and (known := Steer.objects.filter(pk=key).first()):
            return _same(known, execution, by)
        if kind in ("revert", "unrevert"):
            _ensure_reverts(execution, kind)
        if question is not None and Steer.objects.filter(question=question).exists():
            raise NotNow("Somebody was faster: it is answered.")
        made = Steer.objects.create(id=key or uuid7(), execution=execution, **words)
        publish(
            session.subject,
            "session.steered",
            session=str(session.pk),
            steer=str(made.pk),
            kind=kind,
            agent=session.agent,
            by=name,
            text=text[:TEXT_LENGTH],
            question=str(question or ""),
        )
        _write(session, made)
        transaction.on_commit(lambda: nudge(execution.runner, is_said=True))
    return made


def _at_work(session: Session) -> Execution:
    execution = Execution.objects.select_related("runner").filter(session=session, state__in=LIVE).first()
    if execution is None:
        raise NotNow("It has ended: nobody hears you any more.")
    if execution.kind == "check":
        raise NotNow("These are checks, no agent: there is nobody to talk to.")
    return execution


def _ensure_reverts(execution: Execution, kind: str) -> None:
    if not can_revert(execution):
        runtime = execution.assignment.get("runtime")
        raise NotNow(
            f"An agent of the runtime {runtime} cannot have taken back what it did; one of {', '.join(REVERTING)} can."
        )
    if kind == "unrevert" and not is_reverted(execution):
        raise NotNow("Nothing is taken back, or the agent has been told something since: then that is final.")


def _same(known: Steer, execution: Execution, by: User) -> Steer:
    if known.execution_id != execution.pk or known.by != by.pk:
        raise ValidationError("This was said by somebody else, or elsewhere.")
    return known


def _write(session: Session, steer: Steer) -> None:
    """Put it into the transcript. Raises NotNow."""
    try:
        if steer.question is None:
            talk.say(session, steer.text or WORDLESS[steer.kind], author=steer.name)
        elif not talk.answer(session, steer.question, steer.text, author=steer.name):
            raise NotNow("This is no open question: it is answered, or its agent goes on without an answer.")
    except SessionOver:
        raise NotNow("It has just ended: nobody hears you any more.") from None


def waiting(executions: Collection[UUID]) -> dict[UUID, tuple[link.Steer, ...]]:
    """What was said to these executions and not taken yet, in order."""
    found: dict[UUID, tuple[link.Steer, ...]] = {}
    if executions:
        for row in Steer.objects.filter(execution__in=executions, taken_at=None).order_by("created_at", "pk"):
            found[row.execution_id] = (*found.get(row.execution_id, ()), _told(row))
    return found


def _told(row: Steer) -> link.Steer:
    return link.Steer.model_validate(
        {"id": row.pk, "kind": row.kind, "text": row.text, "by": row.name, "question": row.question}
    )


def took(taken: Mapping[UUID, Sequence[UUID]]) -> None:
    """Agents have these words, by execution: what is new of that is told."""
    ids = {steer for steers in taken.values() for steer in steers}
    if not ids:
        return
    rows = Steer.objects.filter(pk__in=ids, execution__in=taken, taken_at=None).select_related("execution__session")
    for row in list(rows.order_by("created_at")):
        session = row.execution.session
        with transaction.atomic(), acting(f"agent:{session.agent}"):
            if Steer.objects.filter(pk=row.pk, taken_at=None).update(taken_at=Now()):
                publish(
                    session.subject,
                    "session.heard",
                    session=str(session.pk),
                    steer=str(row.pk),
                    agent=session.agent,
                )


def said_to(execution: Execution) -> list[Steer]:
    """All that people said to the agent of an execution, in order."""
    return list(execution.steers.exclude(text="").order_by("created_at", "pk"))
