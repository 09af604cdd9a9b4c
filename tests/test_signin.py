"""Signing in and out."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from tenants import signin, tokens
from tenants.hosts import safe_next
from tenants.models import Runner, Team, Token
from tests.conftest import PASSWORD, user_of

ClientFor = Callable[..., Client]


@pytest.fixture(autouse=True)
def no_tries_before() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


def sign_in(client: Client, password: str = PASSWORD, **more: str) -> Any:
    return client.post("/login/", {"email": "Alice@acme.example", "password": password, **more})


def test_mail_and_password_lead_to_the_page_that_was_asked_for(client_for: ClientFor, acme: Team) -> None:
    client = client_for()
    asked = "http://acme.waggle.localhost:8000/projects/"
    page = client.get("/login/", {"next": asked})
    assert f'value="{asked}"' in page.text
    answer = sign_in(client, next=asked)
    assert answer["Location"] == asked
    cookie = answer.cookies[settings.SESSION_COOKIE_NAME]
    assert (cookie["domain"], cookie["httponly"], cookie["samesite"]) == ("waggle.localhost", True, "Lax")
    assert client.get("/team/", headers={"host": "acme.waggle.localhost:8000"}).status_code == 200


@pytest.mark.parametrize(
    "next_url",
    [
        "https://evil.example/",
        "//evil.example/",
        "http://waggle.localhost.evil.example/",
        "http://evilwaggle.localhost:8000/",
        "javascript:alert(1)",
        "http://waggle.localhost:8000@evil.example/",
        "\\\\evil.example",
    ],
)
def test_nobody_is_led_to_a_foreign_host(client_for: ClientFor, acme: Team, next_url: str) -> None:
    assert sign_in(client_for(), next=next_url)["Location"] == "http://waggle.localhost:8000/"


def test_our_hosts_are_good_to_go_on_to(acme: Team) -> None:
    assert safe_next("/teams/") == "http://waggle.localhost:8000/teams/"
    assert safe_next("http://acme.waggle.localhost:8000/x") == "http://acme.waggle.localhost:8000/x"


def test_the_session_gets_a_new_key_when_somebody_signs_in(client_for: ClientFor, acme: Team) -> None:
    client = client_for()
    session = client.session
    session["planted"] = "before"
    session.save()
    before = session.session_key
    client.cookies[settings.SESSION_COOKIE_NAME] = str(before)
    sign_in(client)
    assert client.cookies[settings.SESSION_COOKIE_NAME].value != before


def test_a_wrong_password_is_told_beside_the_field_and_the_mail_address_stays(
    client_for: ClientFor, acme: Team
) -> None:
    answer = sign_in(client_for(), "wrong password")
    assert answer.status_code == 422
    assert answer.context["form"].errors["password"] == ["Mail address and password do not match."]
    assert 'value="Alice@acme.example"' in answer.text
    assert "wrong password" not in answer.text


def test_an_unknown_account_answers_like_a_wrong_password(client_for: ClientFor, acme: Team) -> None:
    answer = client_for().post("/login/", {"email": "nobody@acme.example", "password": PASSWORD})
    assert answer.context["form"].errors["password"] == ["Mail address and password do not match."]


def test_guessing_is_stopped_even_for_the_right_password(client_for: ClientFor, acme: Team) -> None:
    client = client_for()
    for _ in range(signin.GUESSES):
        assert sign_in(client, "guess").status_code == 422
    answer = sign_in(client)
    assert answer.status_code == 429
    assert "Wait 5 minutes" in answer.text
    # Another person is not kept out by it.
    assert client.post("/login/", {"email": "bob@acme.example", "password": PASSWORD}).status_code == 302


def test_one_address_cannot_go_through_all_accounts(client_for: ClientFor, acme: Team) -> None:
    client = client_for()
    for number in range(signin.GUESSES_PER_ADDRESS):
        client.post("/login/", {"email": f"u{number}@acme.example", "password": "guess"})
    assert sign_in(client).status_code == 429
    assert (
        client.post("/login/", {"email": "bob@acme.example", "password": PASSWORD}, REMOTE_ADDR="192.0.2.7").status_code
        == 302
    )


def test_a_right_password_forgets_the_wrong_ones(client_for: ClientFor, acme: Team) -> None:
    for _ in range(2):
        for _ in range(signin.GUESSES - 1):
            sign_in(client_for(), "guess")
        assert sign_in(client_for()).status_code == 302


def test_signing_out_works_on_every_host_and_for_all(client_for: ClientFor, acme: Team) -> None:
    client = client_for(user_of("alice", "acme"), acme)
    assert client.get("/logout/").status_code == 405
    assert client.post("/logout/")["Location"] == "http://waggle.localhost:8000/"
    assert client.get("/team/").status_code == 302
    assert "Sign up a team" in client.get("/", headers={"host": "waggle.localhost:8000"}).text


def test_a_link_signs_in_once_and_looking_at_it_spends_nothing(client_for: ClientFor, acme: Team) -> None:
    link = signin.link_for(user_of("bob", "acme"), acme)
    path = link.removeprefix("http://waggle.localhost:8000")
    for _ in range(2):
        assert "Sign in as Bob" in client_for().get(path).text
    client = client_for()
    assert client.post(path)["Location"] == "http://acme.waggle.localhost:8000/"
    assert client.get("/team/", headers={"host": "acme.waggle.localhost:8000"}).status_code == 200
    again = client_for()
    assert again.post(path)["Location"] == "http://waggle.localhost:8000/login/"
    assert "was used already" in again.get("/login/").text
    assert again.get("/")  # and nobody is signed in
    assert "_auth_user_id" not in again.session


def test_a_link_is_too_old_after_a_quarter_of_an_hour(client_for: ClientFor, acme: Team) -> None:
    link = signin.link_for(user_of("bob", "acme"))
    token = Token.objects.get(user=user_of("bob", "acme"))
    assert token.expires_at is not None
    assert timedelta(minutes=14) < token.expires_at - timezone.now() <= timedelta(minutes=15)
    Token.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    client = client_for()
    assert client.post(link.removeprefix("http://waggle.localhost:8000"))["Location"].endswith("/login/")
    assert "_auth_user_id" not in client.session


def test_no_secret_of_a_link_or_token_is_kept(acme: Team) -> None:
    secret = signin.link_for(user_of("bob", "acme")).rstrip("/").rsplit("/", 1)[1]
    row = Token.objects.get(user=user_of("bob", "acme"))
    assert secret.startswith("wg_")
    assert secret not in str([getattr(row, field.attname) for field in row._meta.concrete_fields])


def test_the_signin_link_command_prints_an_address_for_the_owner(client_for: ClientFor, acme: Team) -> None:
    out = StringIO()
    call_command("signin_link", team="acme", stdout=out)
    path = out.getvalue().strip().removeprefix("http://waggle.localhost:8000")
    assert "Sign in as Alice" in client_for().get(path).text
    with pytest.raises(CommandError, match="no team with the address nope"):
        call_command("signin_link", team="nope")
    with pytest.raises(CommandError, match=r"charlie@nowhere\.example is no active member"):
        call_command("signin_link", team="acme", email="charlie@nowhere.example")


def test_a_runner_that_is_registered_again_gets_a_new_token_and_the_former_ends(db: None) -> None:
    secrets = []
    for _ in range(2):
        out = StringIO()
        call_command("runner_token", name="here", stdout=out)
        secrets.append(out.getvalue().strip())
    assert tokens.find(secrets[0], "runner") is None
    found = tokens.find(secrets[1], "runner")
    assert found is not None
    assert Runner.objects.get(name="here").token == found


def test_a_form_from_another_host_is_refused_and_its_cookie_belongs_to_one_host(
    client_for: ClientFor, acme: Team
) -> None:
    client = client_for(user_of("alice", "acme"), acme, enforce_csrf_checks=True)
    page = client.get("/settings/")
    cookie = page.cookies["csrftoken"]
    assert cookie["domain"] == ""
    token = page.context["csrf_token"]
    form = {"csrfmiddlewaretoken": str(token), "theme": "dark"}
    own, other = "http://acme.waggle.localhost:8000", "http://globex.waggle.localhost:8000"
    assert client.post("/settings/look/", form, headers={"origin": own}).status_code == 302
    assert client.post("/settings/look/", form, headers={"origin": other}).status_code == 403
    assert client.post("/settings/look/", form, headers={"origin": "http://waggle.localhost:8000"}).status_code == 403
    assert client.post("/settings/look/", {"theme": "dark"}, headers={"origin": own}).status_code == 403


def test_the_loopback_address_leads_to_the_public_host(client_for: ClientFor, db: None) -> None:
    client = client_for(host="127.0.0.1")
    assert client.get("/signup/?x=1")["Location"] == "http://waggle.localhost:8000/signup/?x=1"
    assert client.get("/livez").status_code == 200


def test_a_fragment_after_signing_out_sends_the_whole_page_to_the_sign_in(client_for: ClientFor, acme: Team) -> None:
    answer = client_for(team=acme).get(
        "/agents/now/",
        headers={"hx-request": "true", "hx-current-url": "http://acme.waggle.localhost:8000/agents/"},
    )
    assert answer["HX-Redirect"] == (
        "http://waggle.localhost:8000/login/?next=http%3A%2F%2Facme.waggle.localhost%3A8000%2Fagents%2F"
    )
