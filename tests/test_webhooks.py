"""Outgoing webhooks: signed, in order, at least once; what fails is tried again, and holds up nothing else."""

import json
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import WebhookVerificationError

from sessions.events import publish
from sessions.models import Backlog, Delivery, Event, Letter, Session, Stream, Webhook
from sessions.relay import number
from sessions.webhooks import choice, endpoints, leases, schedule, sender
from swarms.verify.run import verify
from tenants import outward, turns
from tenants.context import in_schema
from tenants.models import Due, Team
from tests.board_stage import Stage as Board
from tests.conftest import user_of
from tests.receiver import Got, Reply
from tests.webhook_stage import happen, place, staged, swarm


@pytest.fixture(autouse=True)
def laptop(settings: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.LOCAL_WEBHOOKS = True
    if "committed_team" not in request.fixturenames:
        # Other threads do not see what this test's transaction has written.
        monkeypatch.setattr(sender, "PARALLEL", 1)


@pytest.fixture
def by() -> Any:
    return user_of("alice", "acme")


def broken() -> dict[str, int]:
    """Invariants that do not hold."""
    return {name: count for name, count in verify().counts.items() if count and name.startswith("webhook")}


def test_an_event_is_sent_as_it_is_documented_and_signed(team: Team) -> None:
    with staged() as stage:
        (event,) = happen(swarm(1))
        assert stage.turns() == 1
        (got,) = stage.server.got
        told = got.verified(stage.secret)
        event.refresh_from_db()
        assert told == {
            "type": "decision.made",
            "timestamp": event.at.isoformat(),
            "data": {
                "id": str(event.pk),
                "kind": "decision.made",
                "subject": swarm(1),
                "seq": 1,
                "position": event.position,
                "at": event.at.isoformat().replace("+00:00", "Z"),
                "actor": "system",
                "cause": None,
                "trace": event.trace,
                "payload": {"by": "engine", "what": "w0", "why": "said “so”", "node": "", "is_told": False},
                "team": "acme",
            },
        }
        assert got.id == str(event.pk)
        assert got.headers["content-type"].startswith("application/json")
        assert got.path == "/hook"
        with pytest.raises(WebhookVerificationError):
            got.verified("whsec_" + "A" * 44)
        got.body = got.body.replace(b"w0", b"w1")
        with pytest.raises(WebhookVerificationError):
            got.verified(stage.secret)


def test_events_come_in_order_and_cost_no_rows(team: Team) -> None:
    with staged() as stage:
        for _ in range(3):
            happen(swarm(1), 30)
            happen(swarm(2), 5)
        assert stage.turns() == 105
        assert stage.got == {swarm(1): list(range(1, 91)), swarm(2): list(range(1, 16))}
        assert len(stage.server.got) == 105, "none came twice"
        assert stage.backlogs == {}
        assert stage.due_in is None
        assert not Letter.objects.exists()
        assert broken() == {}
        assert stage.webhook.sent_at is not None


def test_ten_thousand_events_wait_in_one_row(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "TURN_SECONDS", 2.0)
    with staged(lambda got: Reply(500)) as stage:
        for _ in range(20):
            happen(swarm(1), 500)
        stage.turns()
        assert stage.backlogs == {swarm(1): (0, 1)}
        assert (Letter.objects.count(), Delivery.objects.filter(webhook=stage.pk).count() <= 3) == (0, True)


def test_what_one_swarm_waits_for_holds_up_no_other(team: Team) -> None:
    def refuses_first(got: Got) -> Reply:
        return Reply(500 if got.data["subject"] == swarm(1) else 200)

    with staged(refuses_first) as stage:
        happen(swarm(1), 3)
        happen(swarm(2), 3)
        stage.turns()
        happen(swarm(1), 1)
        happen(swarm(2), 1)
        stage.turns()
        assert stage.got == {swarm(1): [1], swarm(2): [1, 2, 3, 4]}
        assert stage.backlogs == {swarm(1): (0, 1)}
        assert broken() == {}
        stage.server.reply = lambda got: Reply()
        stage.pass_time(10)
        stage.turns()
        assert stage.got == {swarm(1): [1, 2, 3, 4], swarm(2): [1, 2, 3, 4]}
        assert stage.backlogs == {}


@pytest.mark.parametrize(
    ("reply", "because"),
    [
        (Reply(500, b"boom"), "it answered 500"),
        (Reply(404), "it answered 404"),
        (Reply(302, headers={"Location": "http://127.0.0.1:1/"}), "redirects are not followed"),
        (Reply(reset=True), "the connection broke off"),
        (Reply(wait=3), "no answer within 1 s"),
    ],
)
def test_each_failure_is_written_down_and_tried_again(
    team: Team, monkeypatch: pytest.MonkeyPatch, reply: Reply, because: str
) -> None:
    monkeypatch.setattr(outward, "ANSWER_SECONDS", 1.0)
    with staged(lambda got: reply) as stage:
        (event,) = happen(swarm(1))
        stage.turns()
        tried = Delivery.objects.get(webhook=stage.pk, event=event)
        assert because in tried.because
        assert (tried.is_good, tried.attempt, tried.excerpt) == (
            False,
            1,
            reply.body.decode() if not (reply.reset or reply.wait) else "",
        )
        assert tried.status == (0 if reply.reset or reply.wait else reply.status)
        assert because in Backlog.objects.get(webhook=stage.pk).because
        assert 3.5 < (stage.due_in or 0) < 6.5
        assert stage.webhook.failures == 1
        stage.server.reply = lambda got: Reply()
        stage.pass_time(7)
        stage.turns()
        assert [got.id for got in stage.server.got] == [str(event.pk)] * 2
        assert (stage.webhook.failures, stage.webhook.failing_since) == (0, None)


def test_retries_go_on_for_days_and_end_as_a_dead_letter_that_can_be_sent_again(team: Team, by: Any) -> None:
    def refuses_first(got: Got) -> Reply:
        return Reply(422, b"never") if got.data["seq"] == 1 else Reply()

    with staged(refuses_first) as stage:
        first, _ = happen(swarm(1), 2)
        waits = []
        for _ in range(len(schedule.DELAYS)):
            stage.turns()
            waits.append(stage.due_in or 0)
            stage.pass_time((stage.due_in or 0) + 0.01)
        assert stage.got == {swarm(1): [1]}
        assert all(0.79 * wanted < got < 1.21 * wanted for got, wanted in zip(waits, schedule.DELAYS, strict=True))
        assert timedelta(days=3) < timedelta(seconds=sum(schedule.DELAYS)) < timedelta(days=4)
        stage.turns()
        assert stage.got == {swarm(1): [1, 2]}, "the next one follows"
        letter = Letter.objects.get(webhook=stage.pk)
        assert (letter.event_id, letter.is_dead, letter.attempts) == (first.pk, True, 10)
        assert letter.because == "it answered 422"
        assert (stage.due_in, stage.backlogs, broken()) == (None, {}, {})
        stage.server.reply = lambda got: Reply()
        assert endpoints.send_dead(stage.webhook, by=by) == 1
        stage.turns()
        assert stage.server.got[-1].id == str(first.pk)
        assert not Letter.objects.filter(webhook=stage.pk).exists()


def test_dead_letters_are_sent_again_in_their_order(team: Team, by: Any) -> None:
    with staged() as stage:
        events = happen(swarm(1), 5)
        stage.turns()
        for event in reversed(events):
            Letter.objects.create(webhook=stage.webhook, event=event, due_at=None)
        stage.server.got.clear()
        endpoints.send_dead(stage.webhook, by=by)
        stage.turns()
        assert [got.id for got in stage.server.got] == [str(event.pk) for event in events]


def test_a_dead_letter_that_fails_again_is_waited_for_by_those_behind_it(team: Team, by: Any) -> None:
    with staged() as stage:
        events, (other,) = happen(swarm(1), 4), happen(swarm(2))
        stage.turns()
        for event in (*events, other):
            Letter.objects.create(webhook=stage.webhook, event=event, due_at=None)
        stage.server.got.clear()
        stage.server.reply = lambda got: Reply(500) if got.id == str(events[1].pk) else Reply()
        endpoints.send_dead(stage.webhook, by=by)
        stage.turns()
        assert [got.id for got in stage.server.got] == [str(event.pk) for event in (*events[:2], other)]
        stage.server.reply = lambda got: Reply()
        stage.pass_time((stage.due_in or 0) + 0.01)
        stage.turns()
        assert [got.id for got in stage.server.got[3:]] == [str(event.pk) for event in events[1:]]
        assert not Letter.objects.filter(webhook=stage.pk).exists()


def test_an_event_can_be_sent_again_but_not_before_its_turn(team: Team, by: Any) -> None:
    with staged() as stage:
        first, second = happen(swarm(1), 2)
        stage.turns()
        endpoints.send_again(stage.webhook, first, by=by)
        stage.turns()
        assert [got.id for got in stage.server.got] == [str(first.pk), str(second.pk), str(first.pk)]
        stage.server.reply = lambda got: Reply(500)
        fourth = happen(swarm(1), 2)[1]
        stage.turns()
        stage.server.reply = lambda got: Reply()
        endpoints.send_again(stage.webhook, fourth, by=by)
        assert not Letter.objects.exists()
        stage.turns()
        assert [got.data["seq"] for got in stage.server.got[3:]] == [3, 3, 4]


def test_a_receiver_that_takes_nothing_is_left_alone_and_then_asked_once(team: Team) -> None:
    with staged(lambda got: Reply(503)) as stage:
        for number in range(1, 8):
            happen(swarm(number))
        stage.turns()
        tried = len(stage.server.got)
        assert schedule.FAILURES <= tried < schedule.FAILURES + sender.PARALLEL
        assert stage.webhook.hold_until is not None
        happen(swarm(8))
        assert (stage.turns(), len(stage.server.got)) == (0, tried), "nothing is sent to it"
        assert broken() == {}
        stage.pass_time((stage.due_in or 0) + 0.01)
        assert stage.turn() == 1, "one alone asks whether it is well"
        stage.server.reply = lambda got: Reply()
        stage.pass_time((stage.due_in or 0) + 0.01)
        stage.turns()
        assert stage.got == {swarm(number): [1] for number in range(1, 9)}, "and all others follow at once"


def test_one_poisoned_swarm_does_not_make_a_receiver_ill(team: Team) -> None:
    with staged(lambda got: Reply(500 if got.data["subject"] == swarm(1) else 200)) as stage:
        happen(swarm(1))
        for _ in range(8):
            stage.turns()
            stage.pass_time((stage.due_in or 0) + 0.01)
        assert stage.webhook.failures >= schedule.FAILURES
        assert stage.webhook.hold_until is None
        happen(swarm(2))
        stage.turns()
        assert stage.got[swarm(2)] == [1]


def test_a_receiver_says_when_it_can_be_asked_again(team: Team) -> None:
    with staged(lambda got: Reply(429, headers={"Retry-After": "900"})) as stage:
        happen(swarm(1))
        stage.turns()
        assert 890 < (stage.due_in or 0) < 901


def test_after_days_of_failures_it_is_switched_off_with_a_word(team: Team, by: Any) -> None:
    with staged(lambda got: Reply(502)) as stage:
        happen(swarm(1))
        stage.turns()
        stage.pass_time(schedule.GIVE_UP.total_seconds())
        stage.turns()
        webhook = stage.webhook
        assert webhook.state == "disabled"
        assert webhook.because == "every delivery failed for 5 days; the last one: it answered 502"
        told = Event.objects.get(kind="webhook.moved")
        assert (told.subject, told.payload["after"], told.payload["because"]) == ("team", "disabled", webhook.because)
        happen(swarm(1))
        assert (stage.due_in, stage.turn(), broken()) == (None, 0, {})
        for verb in (endpoints.send_test, endpoints.send_dead):
            with pytest.raises(ValidationError, match="Switch it on first"):
                verb(webhook, by=by)
        stage.server.reply = lambda got: Reply()
        assert endpoints.enable(webhook, by=by, skip=False)
        stage.turns()
        assert stage.got[swarm(1)] == [1, 2], "what was missed is sent"


def test_gone_is_gone(team: Team) -> None:
    with staged(lambda got: Reply(410)) as stage:
        happen(swarm(1))
        stage.turns()
        assert (stage.webhook.state, stage.due_in) == ("disabled", None)
        assert "410" in stage.webhook.because


def test_what_was_missed_can_be_skipped(team: Team, by: Any) -> None:
    with staged(lambda got: Reply(500)) as stage:
        happen(swarm(1), 2)
        stage.turns()
        assert endpoints.disable(stage.webhook, by=by)
        assert not endpoints.disable(stage.webhook, by=by)
        happen(swarm(2), 2)
        stage.server.reply = lambda got: Reply()
        stage.server.got.clear()
        assert endpoints.enable(stage.webhook, by=by, skip=True)
        assert not endpoints.enable(stage.webhook, by=by, skip=True)
        place()
        happen(swarm(1))
        stage.turns()
        assert stage.got[swarm(1)] == [3]
        assert swarm(2) not in stage.got


def test_only_what_is_chosen_is_sent(team: Team, by: Any) -> None:
    board = Board(by)
    other = Session.objects.create(subject=board.swarm.topic, title="x", agent="a")
    with staged(kinds=["decision.", "swarm.moved"]) as stage, staged(projects=[board.project.pk]) as of_project:
        happen(board.swarm.topic)
        happen(swarm(9))
        happen(f"session:{other.pk}")
        happen(f"project:{board.project.pk}")
        moved = {"id": "x", "before": "running", "after": "paused"}
        for kind in ("swarm.moved", "node.moved"):
            publish(board.swarm.topic, kind, **moved)
        place()
        stage.turns()
        of_project.turns()
        kinds = [got.data["kind"] for got in stage.server.got if got.data["subject"] == board.swarm.topic]
        assert kinds == ["decision.made", "swarm.moved"]
        assert swarm(9) in stage.got
        assert set(of_project.got) == {board.swarm.topic, f"session:{other.pk}", f"project:{board.project.pk}"}
        assert (stage.backlogs, of_project.backlogs) == ({}, {})


def test_kinds_are_named_or_begun() -> None:
    assert choice.unknown(["swarm.", "node.moved", "no.such", "swarm", "mo"]) == ["no.such", "swarm", "mo"]
    assert choice.matches([], "swarm.moved")
    assert choice.matches(["swarm."], "swarm.moved")
    assert not choice.matches(["swarm."], "swarms.moved")
    assert not choice.matches(["node.moved"], "nodes.moved")
    assert not choice.matches([], "webhook.tested")


def test_a_test_is_sent_to_who_asked_and_to_nobody_else(team: Team, by: Any) -> None:
    with staged(kinds=["swarm."]) as stage, staged() as other:
        event = endpoints.send_test(stage.webhook, by=by)
        place()
        stage.turns()
        other.turns()
        (got,) = stage.server.got
        assert (got.id, got.verified(stage.secret)["type"]) == (str(event.pk), "webhook.tested")
        assert other.server.got == []


def test_for_a_day_both_secrets_sign(team: Team, by: Any) -> None:
    with staged() as stage:
        fresh = endpoints.rotate(stage.webhook, by=by)
        place()
        happen(swarm(1))
        stage.turns()
        got = stage.server.got[-1]
        assert got.headers["webhook-signature"].count("v1,") == 2
        got.verified(stage.secret)
        got.verified(fresh)
        stage.pass_time(endpoints.BOTH_SIGN.total_seconds())
        happen(swarm(1))
        stage.turns()
        got = stage.server.got[-1]
        got.verified(fresh)
        with pytest.raises(WebhookVerificationError):
            got.verified(stage.secret)
        third = endpoints.rotate(stage.webhook, by=by)
        endpoints.end_old_secret(stage.webhook, by=by)
        assert stage.webhook.old_secret == ""
        happen(swarm(1))
        stage.turns()
        got = stage.server.got[-1]
        got.verified(third)
        with pytest.raises(WebhookVerificationError):
            got.verified(fresh)


def test_without_its_key_nothing_is_sent_and_nothing_is_lost(team: Team, settings: Any) -> None:
    keys = settings.ENCRYPTION_KEYS
    with staged() as stage:
        happen(swarm(1))
        settings.ENCRYPTION_KEYS = (b"x" * 32,)
        stage.turns()
        assert stage.server.got == []
        assert 200 < (stage.due_in or 0) < 301
        settings.ENCRYPTION_KEYS = keys
        stage.pass_time(301)
        stage.turns()
        assert stage.got == {swarm(1): [1]}


def test_an_address_that_became_private_is_not_called(team: Team, settings: Any) -> None:
    with staged() as stage:
        settings.LOCAL_WEBHOOKS = False
        happen(swarm(1))
        stage.turns()
        assert stage.server.got == []
        assert "Use https://" in Delivery.objects.filter(webhook=stage.pk).latest("pk").because
        settings.WEBHOOK_HOSTS = frozenset({f"127.0.0.1:{stage.server.server_port}"})
        stage.pass_time(7)
        stage.turns()
        assert stage.got == {swarm(1): [1]}


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("url", {"url": "http://127.0.0.1/x"}),
        ("url", {"url": "https://169.254.169.254/x"}),
        ("url", {"url": "ftp://x"}),
        ("kinds", {"kinds": ["no.such"]}),
    ],
)
def test_a_wrong_webhook_is_refused_at_its_field(
    team: Team, by: Any, settings: Any, field: str, given: dict[str, Any]
) -> None:
    settings.LOCAL_WEBHOOKS = False
    right = {"name": "x", "url": "https://8.8.8.8/x", "kinds": [], "projects": []}
    made, _ = endpoints.add(**right, by=by)
    with pytest.raises(ValidationError) as refused:
        endpoints.add(**(right | given), by=by)
    assert set(refused.value.message_dict) == {field}
    with pytest.raises(ValidationError):
        endpoints.change(made, **(right | given), by=by)


def test_a_team_has_so_many_and_no_more(team: Team, by: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "MOST", 2)
    right: dict[str, Any] = {"name": "x", "url": "https://8.8.8.8/x", "kinds": [], "projects": []}
    for _ in range(2):
        endpoints.add(**right, by=by)
    with pytest.raises(ValidationError, match="at most 2 webhooks"):
        endpoints.add(**right, by=by)


def test_a_removed_webhook_leaves_nothing_behind(team: Team, by: Any) -> None:
    with staged(lambda got: Reply(500)) as stage:
        events = happen(swarm(1), 2)
        stage.turns()
        Letter.objects.create(webhook=stage.webhook, event=events[1], due_at=None)
        endpoints.remove(stage.webhook, by=by)
        rows = (Webhook, Backlog, Letter, Delivery)
        assert [model.objects.count() for model in rows] == [0, 0, 0, 0]
        assert not Due.objects.filter(kind="webhook").exists()
        assert stage.turn() == 0


def test_the_log_keeps_the_latest_tries(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "KEPT", 10)
    with staged() as stage:
        events = happen(swarm(1), 25)
        stage.turns()
        kept = Delivery.objects.filter(webhook=stage.pk).order_by("-pk").values_list("event", flat=True)
        assert list(kept) == [event.pk for event in reversed(events[15:])]


def test_two_who_have_the_turn_at_once_are_one(team: Team) -> None:
    with staged() as stage:
        happen(swarm(1))
        other = sender.begin(stage.pk)
        assert other is not None
        assert stage.turn() == 0, "somebody has it"
        stage.pass_time(leases.lease().total_seconds())
        assert stage.turn() == 1, "who was silent has it no longer"
    assert Webhook.objects.get(pk=stage.pk).fence is None


def test_who_has_lost_the_turn_writes_nothing(team: Team) -> None:
    with staged() as stage:
        happen(swarm(1), 2)
        late = sender.begin(stage.pk)
        assert late is not None
        late.sort()
        (pile,) = late.due()
        stage.pass_time(leases.lease().total_seconds())
        stage.turns()
        for act in (late.sort, late.due):
            with pytest.raises(sender.Stale):
                act()
        late.walk(pile)
        assert late.is_over
        assert len(stage.server.got) == 2
        assert Delivery.objects.filter(webhook=stage.pk, event__subject=swarm(1)).count() == 2


def test_who_is_woken_at_every_event_has_a_turn_now_and_then(team: Team) -> None:
    with staged(kinds=["swarm."]) as stage:
        happen(swarm(1))
        stage.turns()
        happen(swarm(1))
        assert 0 < (stage.due_in or 0) <= 0.25


def test_a_look_finds_a_webhook_that_nobody_will_wake(team: Team) -> None:
    with staged() as stage:
        happen(swarm(1))
        assert broken() == {}
        turns.settled("webhook", stage.pk)
        assert broken() == {"webhook_is_due": 1}
        Webhook.objects.update(position=Stream.objects.get().last_position)
        assert broken() == {}
        Backlog.objects.create(webhook=stage.webhook, subject="team", seq=0, due_at=timezone.now())
        assert broken() == {"webhook_is_due": 1}


@given(tries=st.integers(1, 30), failures=st.integers(0, 40), different=st.integers(0, 9), dice=st.floats(0, 1))
def test_delays_grow_and_end(tries: int, failures: int, different: int, dice: float) -> None:
    after = schedule.again_after(tries, random=dice)
    assert (after is None) == (tries > len(schedule.DELAYS))
    assert after is None or after >= 0.8 * 5
    assert schedule.again_after(1, random=dice, asked=10**9) == schedule.LONGEST
    held = schedule.hold_for(failures, different, random=dice)
    assert (held is None) == (failures < schedule.FAILURES or different < schedule.DIFFERENT)
    assert held is None or 0.8 * 30 <= held <= 1.2 * 3600


def test_two_teams_do_not_meet(committed_team: Team, globex: Team) -> None:
    with staged() as stage:
        with in_schema(globex.schema_name):
            happen(swarm(1), 3)
        happen(swarm(2))
        stage.turns()
        assert stage.got == {swarm(2): [1]}
        assert json.loads(stage.server.got[0].body)["data"]["team"] == "acme"


def test_several_swarms_are_sent_side_by_side(committed_team: Team) -> None:
    with staged(lambda got: Reply(wait=0.3)) as stage:
        for number in range(1, 5):
            happen(swarm(number), 2)
        began = time.monotonic()
        stage.turns()
        assert stage.got == {swarm(number): [1, 2] for number in range(1, 5)}
        assert time.monotonic() - began < 8 * 0.3


def test_who_adds_one_and_who_gives_out_places_wait_for_each_other(committed_team: Team, by: Any) -> None:
    """Else an event could get a place before the webhook is known, and its place be behind that of the webhook."""
    publish(swarm(1), "decision.made", by="engine", what="x", why="y")
    began = threading.Event()

    def number_slowly() -> None:
        with in_schema(committed_team.schema_name), transaction.atomic():
            assert number(committed_team.pk) == 1
            began.set()
            time.sleep(0.5)
        connection.close()

    slow = threading.Thread(target=number_slowly)
    slow.start()
    assert began.wait(10)
    made, _ = endpoints.add(name="x", url="http://127.0.0.1:9/", kinds=[], projects=[], by=by)
    slow.join()
    assert made.position == 1
