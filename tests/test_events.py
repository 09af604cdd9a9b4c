"""Durable events: their numbers, their announcement, their kinds."""

import threading
from collections.abc import Callable
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from pydantic import ValidationError

from sessions.events import acting, publish, publish_all
from sessions.kinds import UnknownKind
from sessions.models import Event, Subject
from tenants.context import in_schema
from tenants.models import Outbox, Team
from tenants.trace import begin_trace

DONE = {"by": "policy", "what": "start", "why": "nothing is in its way"}


def test_a_subject_numbers_its_events_without_gaps(team: Team) -> None:
    subject = f"swarm:{uuid4()}"
    publish(subject, "decision.made", **DONE)
    publish_all(subject, [("decision.made", DONE)] * 3)
    publish(f"swarm:{uuid4()}", "decision.made", **DONE)
    assert list(Event.objects.filter(subject=subject).order_by("seq").values_list("seq", flat=True)) == [1, 2, 3, 4]
    assert Subject.objects.get(name=subject).last_seq == 4


def test_every_event_is_announced_once_and_in_order(team: Team) -> None:
    events = publish_all(f"swarm:{uuid4()}", [("decision.made", DONE)] * 3)
    rows = Outbox.objects.filter(team=team).order_by("id").values_list("event", flat=True)
    assert list(rows) == [event.pk for event in events]


def test_several_events_cost_as_many_queries_as_one(
    team: Team, content_queries: Callable[[], CaptureQueriesContext]
) -> None:
    with content_queries() as one:
        publish(f"swarm:{uuid4()}", "decision.made", **DONE)
    with content_queries() as many:
        publish_all(f"swarm:{uuid4()}", [("decision.made", DONE)] * 50)
    assert len(many) == len(one)


def test_an_event_knows_who_did_it_and_its_trace(team: Team) -> None:
    trace = begin_trace()
    with acting("user:somebody"):
        event = publish("team", "decision.made", **DONE)
    stored = Event.objects.get(pk=event.pk)
    assert (stored.actor, stored.trace) == ("user:somebody", trace)
    assert publish("team", "decision.made", **DONE).actor == "system"


def test_an_unknown_kind_is_refused(team: Team) -> None:
    with pytest.raises(UnknownKind):
        publish("team", "something.odd", what="?")
    assert not Event.objects.filter(kind="something.odd").exists()


def test_a_payload_that_breaks_its_kind_is_refused(team: Team) -> None:
    with pytest.raises(ValidationError):
        publish("team", "decision.made", by="policy", colour="red")
    assert not Subject.objects.filter(name="team").exists()


def test_what_is_rolled_back_leaves_no_gap(committed_team: Team) -> None:
    subject = f"swarm:{uuid4()}"
    publish(subject, "decision.made", **DONE)
    with transaction.atomic():
        publish(subject, "decision.made", **DONE)
        transaction.set_rollback(True)
    publish(subject, "decision.made", **DONE)
    assert list(Event.objects.filter(subject=subject).order_by("seq").values_list("seq", flat=True)) == [1, 2]
    assert Outbox.objects.filter(team=committed_team).count() == 2


def test_writers_at_the_same_time_make_dense_numbers_in_the_order_of_the_outbox(committed_team: Team) -> None:
    subject = f"swarm:{uuid4()}"

    def write() -> None:
        try:
            with in_schema(committed_team.schema_name):
                for _ in range(10):
                    publish(subject, "decision.made", **DONE)
        finally:
            connection.close()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    announced = Outbox.objects.filter(team=committed_team).order_by("id").values_list("event", flat=True)
    seqs = {event.pk: event.seq for event in Event.objects.filter(subject=subject)}
    assert [seqs[event] for event in announced] == list(range(1, 41))
