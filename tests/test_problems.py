"""Whatever goes wrong at an address for programs is told as JSON, on every host; people get a page."""

from collections.abc import Callable

import pytest
from django.http import HttpResponse
from django.test import Client

from tenants.models import Team
from tests.conftest import user_of
from tests.test_api_swarms import Program, secret_of

ClientFor = Callable[..., Client]


def told(answer: HttpResponse) -> tuple[int, list[str]]:
    """Status, and the names of what is told."""
    assert answer.headers["Content-Type"] == "application/json", answer.content[:200]
    return answer.status_code, sorted(answer.json())


def test_an_address_that_does_not_exist_is_told_in_json(team: Team, client_for: ClientFor) -> None:
    alice = user_of("alice", "acme")
    browsers = (
        client_for(),
        client_for(None, team),
        client_for(alice, team),
        client_for(host="nobody.waggle.localhost"),
    )
    for client in (*browsers, Client(headers={"host": "127.0.0.1:8000"})):
        for address in ("/api", "/api/", "/api/v1/swarms", "/api/v1/nothing/"):
            for ask in (client.get, client.post, client.delete):
                assert told(ask(address)) == (404, ["error"])
                assert "/t/<team>/api/v1/" in ask(address).json()["error"]
        for of in ("acme", "nobody", "no.slug"):
            for rest in ("api", "api/", "api/v1/nothing", "api/v1/swarms/", "api/v1/swarms/x", "nothing", "runner/x"):
                answer = client.get(f"/t/{of}/{rest}")
                assert (*told(answer), answer.json()) == (404, ["error"], {"error": "not found"})
    page = client_for(alice, team).get("/nothing/")
    assert (page.status_code, page.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert client_for(None, team).get("/apiary/").status_code == 302  # to the page where people sign in


def test_what_goes_wrong_at_an_address_that_exists_is_told_in_json(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    bob = Program(secret_of("bob", team))
    wrong = bob.post("/swarms")
    assert (*told(wrong), wrong.headers["Allow"]) == (405, ["error"], "GET")
    assert wrong.json()["error"] == "POST is not possible here: use GET."
    assert told(bob.get("/swarms?project=%00")) == (400, ["error"])
    assert told(bob.post("/budgets/set", {"of": "p"})) == (403, ["error"])
    alice = Program(secret_of("alice", team))
    assert told(alice.post("/budgets/set", {"of": "x" * (21 * 2**20)})) == (413, ["error"])
    alice.client.raise_request_exception = False
    monkeypatch.setattr("swarms.api.budgets.purses.all_of_team", None)
    assert told(alice.get("/budgets")) == (500, ["error"])
    evil = Client(headers={"host": "evil.example"})
    assert told(evil.get("/t/acme/api/v1/swarms"))[0] == 400
    page = evil.get("/swarms/")
    assert (page.status_code, "html" in page.headers["Content-Type"]) == (400, True)
