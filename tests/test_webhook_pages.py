"""Webhooks on the dashboard: for whom, what is shown, what can be done."""

import re
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from sessions.models import Delivery, Letter, Webhook
from tenants.models import Team
from tests.conftest import user_of
from tests.receiver import Reply
from tests.webhook_stage import Stage, happen, staged, swarm

ROOT = "/settings/webhooks/"
ClientFor = Callable[..., Client]


@pytest.fixture(autouse=True)
def laptop(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.LOCAL_WEBHOOKS = True
    monkeypatch.setattr("sessions.webhooks.sender.PARALLEL", 1)


@pytest.fixture
def alice(team: Team, client_for: ClientFor) -> Client:
    return client_for(user_of("alice", "acme"), team)


@pytest.fixture
def stage(team: Team) -> Iterator[Stage]:
    with staged() as made:
        yield made


def secret_in(page: str) -> str:
    found = re.search(r"<code data-secret>(whsec_[^<]+)</code>", page)
    assert found, page
    return found[1]


def test_without_any_the_page_says_what_they_are_for(alice: Client) -> None:
    page = alice.get(ROOT).text
    assert "No webhooks yet" in page
    assert f'href="{ROOT}"' in alice.get("/settings/").text


def test_one_is_added_and_its_secret_is_shown_once(alice: Client, stage: Stage) -> None:
    given = {"name": "chat <b>", "url": stage.server.url, "kinds": "swarm., approval.asked\ndecision.made"}
    answer = alice.post(f"{ROOT}new/", given)
    secret = secret_in(answer.text)
    made = Webhook.objects.get(name="chat <b>")
    assert (made.kinds, made.projects) == (["swarm.", "approval.asked", "decision.made"], [])
    page = alice.get(f"{ROOT}{made.pk}/")
    assert page.status_code == 200
    assert secret not in page.text
    assert "chat &lt;b&gt;" in page.text
    added = Stage(stage.server, made, secret)
    stage.server.got.clear()
    happen(swarm(1))
    added.turns()
    stage.server.got[-1].verified(secret)


def test_a_wrong_one_is_refused_at_its_fields_and_nothing_typed_is_lost(alice: Client, settings: Any) -> None:
    settings.LOCAL_WEBHOOKS = False
    given = {"name": "chat", "url": "http://10.0.0.1/x", "kinds": "swarm.", "projects": ["nobodys"]}
    answer = alice.post(f"{ROOT}new/", given)
    assert answer.status_code == 422
    assert "nobodys is not one of the available choices" in answer.text
    answer = alice.post(f"{ROOT}new/", given | {"projects": []})
    assert answer.status_code == 422
    assert "Use https://" in answer.text
    assert 'value="http://10.0.0.1/x"' in answer.text
    answer = alice.post(f"{ROOT}new/", given | {"projects": [], "url": "https://8.8.8.8/", "kinds": "zebra."})
    assert "No events are called zebra" in answer.text
    assert not Webhook.objects.exists()


def test_everything_that_can_be_done_is_on_its_page(alice: Client, stage: Stage) -> None:
    page = f"{ROOT}{stage.pk}/"
    alice.post(f"{page}test/")
    stage.turns()
    assert stage.server.got[-1].verified(stage.secret)["type"] == "webhook.tested"
    assert "webhook.tested" in alice.get(page).text
    fresh = secret_in(alice.post(f"{page}secret/").text)
    assert "Two secrets sign" in alice.get(page).text
    assert fresh not in alice.get(page).text
    alice.post(f"{page}secret/end/")
    assert "Two secrets sign" not in alice.get(page).text
    event = Delivery.objects.latest("pk").event
    alice.post(f"{page}again/", {"event": str(event.pk)})
    stage.turns()
    assert [got.id for got in stage.server.got].count(str(event.pk)) == 2
    alice.post(f"{page}change/", {"name": "other", "url": stage.server.url, "kinds": "node."})
    assert (stage.webhook.name, stage.webhook.kinds) == ("other", ["node."])
    alice.post(f"{page}off/")
    assert "Nothing is sent: switched off by Alice." in alice.get(page).text
    assert "Switch it on first" in alice.post(f"{page}test/", follow=True).text
    alice.post(f"{page}on/", {"missed": "skip"})
    assert stage.webhook.state == "enabled"
    assert "is gone" in alice.post(f"{page}remove/", follow=True).text
    assert not Webhook.objects.exists()


def test_failures_are_shown_and_dead_letters_are_sent_again_together(alice: Client, stage: Stage) -> None:
    page = f"{ROOT}{stage.pk}/"
    stage.server.reply = lambda got: Reply(500, b"<b>no</b>")
    first, _ = happen(swarm(1), 2)
    stage.turns()
    shown = alice.get(page).text
    for text in ("it answered 500", "&lt;b&gt;no&lt;/b&gt;", "next try", "from no. 1 on"):
        assert text in shown
    assert "<b>no</b>" not in shown
    Letter.objects.create(webhook=stage.webhook, event=first, attempts=10, because="it answered 500")
    assert '<span class="badge">1<span' in alice.get("/").text
    shown = alice.get(page).text
    assert "Send all 1 again" in shown
    stage.server.reply = lambda got: Reply()
    assert "1 dead letter will be sent again" in alice.post(f"{page}again/all/", follow=True).text
    stage.turns()
    assert not Letter.objects.exists()
    assert '<span class="badge">' not in alice.get("/").text


def test_who_was_given_up_is_shown_to_who_can_help(alice: Client, stage: Stage, team: Team, client_for: Any) -> None:
    stage.server.reply = lambda got: Reply(410)
    happen(swarm(1))
    stage.turns()
    assert "it wants nothing any more" in alice.get(ROOT).text
    assert "One of them" not in alice.get("/settings/").text
    assert "1 of them needs a look" in alice.get("/settings/").text
    vera = client_for(user_of("vera", "acme"), team)
    assert '<span class="badge">' not in vera.get("/").text
    assert ROOT not in vera.get("/settings/").text


def test_the_log_goes_on_page_by_page(alice: Client, stage: Stage) -> None:
    page = f"{ROOT}{stage.pk}/"
    happen(swarm(1), 60)
    stage.turns()
    first = alice.get(page).text
    link = re.search(r'href="(\?before=[0-9a-f-]+)"', first)
    assert link
    second = alice.get(page + link[1]).text
    shown = [re.findall(r"000001 no\. (\d+)", text) for text in (first, second)]
    assert [int(number) for number in shown[0] + shown[1]] == list(range(60, 0, -1))
    for wrong in ("?before=x",):
        assert alice.get(page + wrong).status_code == 404
    for wrong in ("", "x", str(uuid4())):
        assert "There is no such event" in alice.post(f"{page}again/", {"event": wrong}, follow=True).text
