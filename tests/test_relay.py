"""The relay: every committed event gets one place, in order, and reaches Redis whatever breaks on the way."""

import json
import threading
import time
from collections.abc import Iterator
from uuid import uuid4

import pytest
import redis
from django.conf import settings
from django.db import connection, transaction
from django.test import override_settings

from sessions import relay
from sessions.events import publish, publish_all
from sessions.models import Event, Stream
from sessions.relay import Relay, Waiting, announce, number, relay_once
from sessions.topics import stream_key
from tenants.context import in_schema
from tenants.models import Outbox, Team

DONE = {"by": "policy", "what": "start", "why": "nothing is in its way"}
Entries = list[tuple[int, str]]


@pytest.fixture
def globex(committed_team: Team) -> Team:
    """The other team; its rows commit too."""
    return Team.objects.get(domains__slug="globex")


@pytest.fixture
def server() -> Iterator[redis.Redis]:
    """The tests' Redis, with no streams before."""
    client = redis.Redis.from_url(settings.STREAM_URL)
    for key in client.scan_iter("ev:*"):
        client.delete(key)
    yield client
    client.close()


def on_stream(server: redis.Redis, team: Team) -> Entries:
    """Positions and subjects of a team's stream, each twice the same: beside the event and in it."""
    entries = [(int(key.split(b"-")[0]), fields) for key, fields in server.xrange(stream_key(team.schema_name))]
    for position, fields in entries:
        event = json.loads(fields[b"event"])
        assert (event["position"], event["topic"]) == (position, fields[b"subject"].decode())
    return [(position, fields[b"subject"].decode()) for position, fields in entries]


def happen(count: int = 1, subject: str = "team") -> list[Event]:
    return publish_all(subject, [("decision.made", DONE)] * count)


def waiting(team: Team) -> Waiting:
    return Waiting(team.schema_name, team.pk)


def test_with_nothing_to_relay_nothing_is_relayed(team: Team) -> None:
    assert relay_once() == 0
    assert not Stream.objects.exists()


def test_events_reach_the_stream_under_their_positions(committed_team: Team, server: redis.Redis) -> None:
    happen(2, "swarm:a")
    happen(1, "swarm:b")
    assert relay_once() == 3
    assert on_stream(server, committed_team) == [(1, "swarm:a"), (2, "swarm:a"), (3, "swarm:b")]
    assert list(Event.objects.order_by("position").values_list("position", "subject", "seq")) == [
        (1, "swarm:a", 1),
        (2, "swarm:a", 2),
        (3, "swarm:b", 1),
    ]
    assert not Outbox.objects.exists()
    assert relay_once() == 0


def test_an_entry_holds_the_whole_event_as_programs_get_it(committed_team: Team, server: redis.Redis) -> None:
    (event,) = happen()
    relay_once()
    ((_, entry),) = server.xrange(stream_key(committed_team.schema_name))
    assert {name.decode(): value.decode() for name, value in entry.items()} == {
        "subject": "team",
        "event": '{"topic":"team","seq":1,"kind":"decision.made","payload":{"by":"policy","why":"nothing is in its way"'
        f',"node":"","what":"start","is_told":false}},"actor":"system","at":"{event.at.isoformat()}","position":1,"id":"{event.pk}"'
        f',"cause":null,"trace":"{event.trace}"}}',
    }


def test_each_team_has_positions_and_a_stream_of_its_own(
    committed_team: Team, globex: Team, server: redis.Redis
) -> None:
    happen(2, "swarm:of-acme")
    try:
        with in_schema(globex.schema_name):
            happen(1, "swarm:of-globex")
        assert relay_once() == 3
        assert on_stream(server, committed_team) == [(1, "swarm:of-acme"), (2, "swarm:of-acme")]
        assert [subject for _, subject in on_stream(server, globex)] == ["swarm:of-globex"]
    finally:
        with in_schema(globex.schema_name):
            Event.objects.all().delete()
            Stream.objects.all().delete()


def test_more_than_a_batch_goes_out_in_order(
    committed_team: Team, server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "BATCH", 7)
    happen(20)
    forwarder = Relay()
    counts = []
    while count := forwarder.run_once():
        counts.append(count)
    forwarder.close()
    assert counts == [7, 7, 6]
    assert [position for position, _ in on_stream(server, committed_team)] == list(range(1, 21))


def test_a_crash_after_numbering_keeps_the_numbers(committed_team: Team, server: redis.Redis) -> None:
    first = happen(2)
    number(committed_team.pk)
    happen(1)
    relay_once()
    assert [Event.objects.get(pk=event.pk).position for event in first] == [1, 2]
    assert [position for position, _ in on_stream(server, committed_team)] == [1, 2, 3]


def test_a_crash_between_stream_and_outbox_adds_nothing_twice(committed_team: Team, server: redis.Redis) -> None:
    happen(3)
    number(committed_team.pk)
    rows = list(Outbox.objects.values_list("id", "team_id", "event"))
    assert announce(waiting(committed_team), server) == 3
    Outbox.objects.bulk_create(Outbox(id=pk, team_id=team, event=event) for pk, team, event in rows)
    happen(1)
    relay_once()
    assert [position for position, _ in on_stream(server, committed_team)] == [1, 2, 3, 4]
    assert not Outbox.objects.exists()


def test_numbered_events_go_before_later_ones_though_their_rows_are_younger(
    committed_team: Team, server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction may commit late with a low row number: what was numbered before it must still go out first."""
    monkeypatch.setattr(relay, "BATCH", 2)
    happen(2, "swarm:late")
    late = list(Outbox.objects.values_list("pk", flat=True))
    Outbox.objects.filter(pk__in=late).update(team_id=committed_team.pk)
    held = list(Outbox.objects.all())
    Outbox.objects.all().delete()
    happen(2, "swarm:early")
    number(committed_team.pk)
    Outbox.objects.bulk_create(held)
    while relay_once():
        pass
    assert on_stream(server, committed_team) == [
        (1, "swarm:early"),
        (2, "swarm:early"),
        (3, "swarm:late"),
        (4, "swarm:late"),
    ]


def test_relays_at_the_same_time_give_each_event_one_place(committed_team: Team, server: redis.Redis) -> None:
    happen(300)

    def forward() -> None:
        try:
            while relay_once():
                pass
        finally:
            connection.close()

    threads = [threading.Thread(target=forward) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [position for position, _ in on_stream(server, committed_team)] == list(range(1, 301))
    assert sorted(Event.objects.values_list("position", flat=True)) == list(range(1, 301))
    assert not Outbox.objects.exists()


def test_without_redis_events_get_their_places_and_wait(
    committed_team: Team, server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "PAUSE_SECONDS", 0)
    with override_settings(STREAM_URL="redis://127.0.0.1:1/0"):
        forwarder = Relay()
    happen(2)
    assert forwarder.run_once() == 0
    assert forwarder.run_once() == 0
    forwarder.close()
    assert Outbox.objects.count() == 2
    assert list(Event.objects.order_by("seq").values_list("position", flat=True)) == [1, 2]
    assert relay_once() == 2
    assert [position for position, _ in on_stream(server, committed_team)] == [1, 2]


def test_after_redis_lost_everything_later_events_still_flow(committed_team: Team, server: redis.Redis) -> None:
    happen(3)
    relay_once()
    server.delete(stream_key(committed_team.schema_name))
    happen(2)
    assert relay_once() == 2
    assert [position for position, _ in on_stream(server, committed_team)] == [4, 5]


def test_a_stream_that_is_newer_than_the_database_is_started_anew(committed_team: Team, server: redis.Redis) -> None:
    server.xadd(stream_key(committed_team.schema_name), {"position": "900"}, id="900-0")
    happen(2)
    assert relay_once() == 2
    assert [position for position, _ in on_stream(server, committed_team)] == [1, 2]


def test_an_event_that_is_gone_does_not_stop_the_others(committed_team: Team, server: redis.Redis) -> None:
    gone, *_ = happen(2)
    Event.objects.filter(pk=gone.pk).delete()
    relay_once()
    assert [position for position, _ in on_stream(server, committed_team)] == [1]
    assert not Outbox.objects.exists()


def test_a_stream_keeps_only_the_latest_events(
    committed_team: Team, server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "STREAM_LENGTH", 100)
    happen(1000)
    while relay_once():
        pass
    kept = [position for position, _ in on_stream(server, committed_team)]
    assert kept[-1] == 1000
    assert 100 <= len(kept) < 500


def test_publishing_wakes_the_relay(committed_team: Team) -> None:
    forwarder = Relay()
    forwarder.wait(0.01)
    woken = threading.Event()

    def sleep() -> None:
        forwarder.wait(60)
        woken.set()

    sleeper = threading.Thread(target=sleep)
    sleeper.start()
    assert not woken.wait(0.2)
    publish("team", "decision.made", **DONE)
    assert woken.wait(10)
    sleeper.join()
    forwarder.close()


def test_the_loop_relays_what_comes_and_survives_a_lost_database_connection(
    committed_team: Team, server: redis.Redis
) -> None:
    stop = threading.Event()
    loop = threading.Thread(target=Relay().run, args=[stop])
    loop.start()
    try:
        happen(1)
        _until(lambda: len(on_stream(server, committed_team)) == 1)
        _cut_other_connections()
        happen(1)
        _until(lambda: len(on_stream(server, committed_team)) == 2)
    finally:
        stop.set()
        loop.join(timeout=20)
    assert not loop.is_alive()


def _cut_other_connections() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def _until(condition: object, seconds: float = 30) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.02)


def test_an_event_of_a_transaction_that_is_not_over_stays_unseen(committed_team: Team, server: redis.Redis) -> None:
    with transaction.atomic():
        happen(1, f"swarm:{uuid4()}")
        seen: list[int] = []
        other = threading.Thread(target=lambda: (seen.append(relay_once()), connection.close()))
        other.start()
        other.join()
    assert seen == [0]
    assert relay_once() == 1
