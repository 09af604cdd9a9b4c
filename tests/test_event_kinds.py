"""Kinds of events: each has a model of its own, a sentence, and a meaning for every field; the document tells all."""

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from pydantic import BaseModel, ValidationError

from sessions.events import acting, publish
from sessions.kinds import KINDS
from sessions.kinds.described import fields, sentence
from sessions.kinds.payload import Payload
from sessions.management.commands.event_kinds import document
from sessions.models import Event
from tenants.models import Team

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "events.md"
DONE = {"by": "policy", "what": "start", "why": "nothing is in its way"}


def test_each_kind_has_a_frozen_model_of_its_own() -> None:
    assert len(set(KINDS.values())) == len(KINDS)
    for kind, model in KINDS.items():
        assert issubclass(model, Payload), kind
        assert model.model_config["frozen"], kind
        assert model.model_config["extra"] == "forbid", kind
        assert len(kind) <= 40, kind  # the column


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_told_in_one_sentence_and_each_field_has_a_meaning(kind: str) -> None:
    told = sentence(KINDS[kind])
    assert told.count(". ") == 0, "one sentence"
    assert told.endswith(".")
    described = list(fields(KINDS[kind]))
    assert [field.name for field in described if "." not in field.name] == list(KINDS[kind].model_fields)


def test_a_model_without_words_is_refused() -> None:
    class Silent(BaseModel):
        said: str

    class Told(BaseModel):
        """It has a sentence, and a field that says nothing."""

        said: str

    with pytest.raises(ValueError, match="Silent has no sentence"):
        sentence(Silent)
    with pytest.raises(ValueError, match=r"Told\.said has no docstring"):
        list(fields(Told))


def test_the_document_is_what_the_command_writes(tmp_path: Path) -> None:
    assert DOCUMENT.read_text() == document(), "run: manage.py event_kinds --write docs/events.md"
    call_command("event_kinds", write=tmp_path / "events.md")
    assert (tmp_path / "events.md").read_text() == document()


def test_programs_get_a_schema_of_every_kind() -> None:
    out = StringIO()
    call_command("event_kinds", "--json", stdout=out)
    found = json.loads(out.getvalue())
    assert set(found) == set(KINDS)
    assert found["approval.decided"]["properties"]["automatic"]["type"] == "boolean"
    assert found["approval.decided"]["additionalProperties"] is False


def test_an_event_cannot_be_changed_once_it_is_made() -> None:
    told = KINDS["decision.made"].model_validate(DONE)
    with pytest.raises(ValidationError):
        told.what = "something else"  # type: ignore[attr-defined]


def causes() -> list[int | None]:
    """For each event the place of its cause."""
    events = list(Event.objects.order_by("subject", "seq"))
    places = {event.pk: place for place, event in enumerate(events)}
    return [places[event.cause] if event.cause else None for event in events]


def test_what_somebody_does_in_one_go_follows_from_its_first_event(team: Team) -> None:
    publish("team", "decision.made", **DONE)
    with acting("user:a"):
        publish("team", "decision.made", **DONE)
        publish("team", "decision.made", **DONE)
        with acting("system"):
            publish("team", "decision.made", **DONE)
        publish("team", "decision.made", **DONE)
    publish("team", "decision.made", **DONE)
    assert causes() == [None, None, 1, 1, 1, None]


def test_what_only_comes_together_has_no_cause_unless_one_is_given(team: Team) -> None:
    with acting("agent:a", is_followed=False):
        first = publish("team", "decision.made", **DONE)
        publish("team", "decision.made", **DONE)
        publish("team", "decision.made", cause=first.pk, **DONE)
    assert causes() == [None, None, 0]
