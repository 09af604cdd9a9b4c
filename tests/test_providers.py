"""A team's own providers of models: whom the gateway asks, with which key, and that nobody reads it again."""

import base64
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings as live_settings
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.test import Client

from agents import breakers, breakers_shown, credentials, routes
from agents.executions import assignment_of
from agents.hiding import Hidden
from agents.models import Execution, ModelCall, Provider
from sessions.models import Event
from tenants.context import in_schema
from tenants.models import Membership, Team
from tenants.secrets import CannotUnseal, seal, sealed_fields, unseal
from tests.conftest import user_of
from tests.test_gateway import ASK, KEY, Agent, Answering, chunk, kept, working
from tests.test_gateway import Provider as Upstream
from tests.test_gateway import server as server  # the platform's provider
from tests.web import Web, serve, until

OURS = "sk-canary-4711-of-the-team"
ROOT = "/settings/providers/"
ClientFor = Callable[..., Client]


@pytest.fixture(autouse=True)
def laptop(settings: Any) -> None:
    settings.LOCAL_PROVIDERS = True


@pytest.fixture
def upstream(server: Upstream) -> Upstream:
    server.reset()
    redis.Redis.from_url(live_settings.STREAM_URL).flushdb()
    return server


@pytest.fixture(scope="module")
def web(
    server: Upstream, django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Web]:
    model = {
        "WAGGLE_MODEL_BASE_URL": f"http://127.0.0.1:{server.port}/v1",
        "WAGGLE_MODEL_API_KEY": KEY,
        "WAGGLE_MODEL_NAME": "large",
        "WAGGLE_LOCAL_PROVIDERS": "1",
    }
    with (
        django_db_blocker.unblock(),
        serve("config.asgi:application", tmp_path_factory.mktemp("web"), **model) as running,
    ):
        yield running


def add(port: int, *, name: str = "ours", serves: tuple[str, ...] = ("small", "tiny"), key: str = OURS) -> Provider:
    url = f"http://127.0.0.1:{port}/own/v1/"
    return credentials.add(name=name, base_url=url, serves=serves, key=key, by="alice")


def asks(agent: Agent, model: str, *, rehearsal: bool = False) -> None:
    Execution.objects.filter(pk=agent.execution.pk).update(placed={"asks": model, "rehearsal": rehearsal})


def test_the_teams_provider_is_asked_before_the_platforms(web: Web, upstream: Upstream, committed_team: Team) -> None:
    add(upstream.port)
    agent = working(committed_team)
    for number, model in enumerate(("tiny", "large"), start=1):
        asks(agent, model)
        assert agent.post(web).status_code == 200
        until(lambda number=number: ModelCall.objects.count() == number)  # what it cost is told after the answer
    (path, headers, body), (other, others, _) = upstream.asked
    assert (path, headers["authorization"], body["model"]) == ("/own/v1/chat/completions", f"Bearer {OURS}", "tiny")
    assert (other, others["authorization"]) == ("/v1/chat/completions", f"Bearer {KEY}")
    assert list(ModelCall.objects.order_by("at").values_list("provider", flat=True)) == ["ours", ""]
    events = Event.objects.filter(kind="model.called").order_by("seq")
    assert [event.payload["provider"] for event in events] == ["ours", ""]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [200, 401])
def test_a_provider_that_says_the_key_again_is_not_heard(
    web: Web, upstream: Upstream, committed_team: Team, stream: bool, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def whole(self: Answering, answer: dict[str, Any]) -> None:
        body = json.dumps({"model": OURS, "error": {"message": f"wrong key {OURS}"}, "usage": None}).encode()
        self.send_response(status)
        for name, value in (("content-type", "application/json"), ("x-request-id", f"r-{OURS}")):
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    monkeypatch.setattr(Answering, "_whole", whole)
    upstream.status = status
    said = chunk(f"your key is {OURS}, or {OURS[:9]}", model=OURS) + chunk(f"{OURS[9:]}, and {OURS[:5]}")
    upstream.chunks = [said[:40], *(said[n : n + 3] for n in range(40, len(said), 3)), b"data: [DONE]\n\n"]
    add(upstream.port)
    agent = working(committed_team)
    asks(agent, "small")
    answer = agent.post(web, ASK | {"stream": stream})
    call = kept()
    assert answer.status_code == status
    assert OURS not in answer.text + str(answer.headers) + call.model
    assert "[redacted]" in answer.text
    if stream and status == 200:
        lines = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
        text = "".join(line["choices"][0]["delta"].get("content") or "" for line in lines)
        assert text == f"your key is [redacted], or [redacted], and {OURS[:5]}"
        assert answer.text.endswith("[DONE]\n\n")
    assert OURS not in web.log.read_text()


def test_a_key_is_hidden_however_the_bytes_are_cut() -> None:
    text = f"a {OURS}{OURS} b {OURS[:-1]} c sk-sk-canary {OURS[:3]}".encode()
    expected = text.replace(OURS.encode(), b"[redacted]")
    for size in range(1, len(text) + 1):
        hidden = Hidden(OURS)
        shown = b"".join(hidden.feed(text[n : n + size]) for n in range(0, len(text), size)) + hidden.end()
        assert shown == expected
    assert Hidden("").whole(text) == text


def test_revoked_it_is_asked_no_more(web: Web, upstream: Upstream, committed_team: Team) -> None:
    provider = add(upstream.port)
    agent = working(committed_team)
    asks(agent, "small")
    assert agent.post(web).status_code == 200
    assert credentials.revoke(provider, by="alice")
    assert not credentials.revoke(provider, by="alice")
    assert (provider.key, provider.key_end) == ("", OURS[-4:])
    assert agent.post(web).status_code == 200
    assert [headers["authorization"] for _, headers, _ in upstream.asked] == [f"Bearer {OURS}", f"Bearer {KEY}"]
    credentials.replace(provider, "sk-another-key", by="alice")
    assert agent.post(web).status_code == 200
    assert upstream.asked[-1][1]["authorization"] == "Bearer sk-another-key"


def test_a_key_that_was_copied_opens_nothing(web: Web, upstream: Upstream, committed_team: Team) -> None:
    mine = add(upstream.port)
    globex = Team.objects.get(domains__slug="globex")
    with in_schema(globex.schema_name):
        theirs = add(upstream.port, key="sk-of-globex")
        Provider.objects.filter(pk=theirs.pk).update(key=mine.key)
        theirs.refresh_from_db()
        with pytest.raises(CannotUnseal):
            unseal(theirs, "key")
        copied = Provider(pk=mine.pk, key=mine.key)
        with pytest.raises(CannotUnseal):
            unseal(copied, "key")
        agent = working(globex)
        asks(agent, "small")
    with agent.calling() as client:
        answer = client.post(f"http://127.0.0.1:{web.port}/t/globex/model/v1/chat/completions", json=ASK)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no_model")
    assert upstream.asked == []
    other = add(upstream.port, name="other")
    Provider.objects.filter(pk=other.pk).update(key=mine.key)
    other.refresh_from_db()
    with pytest.raises(CannotUnseal):
        unseal(other, "key")


def test_a_key_goes_to_no_address_but_that_for_which_it_was_given(
    web: Web, upstream: Upstream, committed_team: Team
) -> None:
    """Whoever can write the database, and has no key, cannot have one sent elsewhere."""
    provider = add(upstream.port)
    agent = working(committed_team)
    asks(agent, "small")
    elsewhere = f"http://127.0.0.1:{upstream.port}/elsewhere/v1"
    Provider.objects.filter(pk=provider.pk).update(base_url=elsewhere)
    provider.refresh_from_db()
    answer = agent.post(web)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no_model")
    assert "Put it in again" in answer.text
    trial = credentials.try_out(provider)
    assert (trial.is_good, upstream.asked) == (False, [])
    assert "not given for this address" in trial.text
    credentials.replace(provider, "sk-for-elsewhere", by="alice")
    assert agent.post(web).status_code == 200
    credentials.replace(provider, "sk-for-there", by="alice", base_url=elsewhere.replace("elsewhere", "there"))
    assert agent.post(web).status_code == 200
    assert [(path, headers["authorization"]) for path, headers, _ in upstream.asked] == [
        ("/elsewhere/v1/chat/completions", "Bearer sk-for-elsewhere"),
        ("/there/v1/chat/completions", "Bearer sk-for-there"),
    ]


def test_a_refused_key_shuts_itself_alone(web: Web, upstream: Upstream, committed_team: Team) -> None:
    bad, good = add(upstream.port), add(upstream.port, name="second", serves=("spare",), key="sk-second-key")
    agent = working(committed_team)
    asks(agent, "small")
    upstream.status = 401
    until(lambda: agent.post(web).status_code == 503)
    upstream.status = 200
    before = len(upstream.asked)
    for model in ("spare", "large"):
        asks(agent, model)
        assert agent.post(web).status_code == 200
    assert len(upstream.asked) == before + 2
    shut = breakers.closed_until(committed_team.schema_name, "small")
    assert shut is not None
    assert str(bad.pk) in shut.name
    assert breakers.closed_until(committed_team.schema_name, "spare") is None
    assert OURS not in str(breakers_shown.lines(committed_team.schema_name, ["small", "spare"]))
    assert good.name == "second"
    globex = Team.objects.get(domains__slug="globex")
    assert breakers.closed_until(globex.schema_name, "small") is None


def test_the_network_behind_the_server_is_not_a_provider(team: Team, settings: Any) -> None:
    settings.LOCAL_PROVIDERS = False
    for url in ("http://127.0.0.1:9/v1", "https://169.254.169.254/v1", "https://[::1]/v1", "file:///etc/passwd"):
        with pytest.raises(ValidationError) as told:
            credentials.add(name="x", base_url=url, serves=["a"], key=OURS, by="alice")
        assert "base_url" in told.value.message_dict
    settings.PROVIDER_HOSTS = frozenset({"127.0.0.1:9"})
    credentials.add(name="x", base_url="http://127.0.0.1:9/v1", serves=["a"], key=OURS, by="alice")


def test_a_private_address_is_refused_when_the_gateway_calls(
    upstream: Upstream, committed_team: Team, tmp_path: Path
) -> None:
    add(upstream.port)
    agent = working(committed_team)
    asks(agent, "small")
    with serve("config.asgi:application", tmp_path) as web:  # its settings say no
        answer = agent.post(web)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "provider_not_allowed")
    assert "WAGGLE_PROVIDER_HOSTS" in answer.json()["error"]["message"]
    assert upstream.asked == []


def test_who_began_with_the_rehearsal_stays_with_it(team: Team, settings: Any) -> None:
    settings.MODEL_BASE_URL, settings.MODEL_NAME, settings.MODEL_REHEARSAL = "http://127.0.0.1:1/v1", "rehearsal", True
    before = working(team).execution
    before.assignment = {"title": "x", "role": "developer"}
    before.placed = routes.terms("")
    add(9)
    after = working(team).execution
    after.assignment = before.assignment
    after.placed = routes.terms("")
    assert (before.is_rehearsal, before.model) == (True, "rehearsal")
    assert (after.is_rehearsal, after.model) == (False, "small")
    assert routes.terms("tiny") == {"asks": "tiny", "rehearsal": False}
    rehearsed = routes.route_for("rehearsal", rehearsal=True)
    assert rehearsed is not None
    assert rehearsed.id is None
    assert routes.route_for("unknown", rehearsal=False) is None, "real work gets no scripted answers"
    told = [assignment_of(one, team=team, token="t").model for one in (before, after)]
    assert [(model.name, model.rehearsal) for model in told if model] == [("rehearsal", True), ("small", False)]


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("key", {"key": "short"}),
        ("key", {"key": "with space in it"}),
        ("key", {"key": "line\nbreak-in-it"}),
        ("key", {"base_url": f"http://127.0.0.1:9/{OURS}/v1"}),
        ("serves", {"serves": []}),
        ("name", {"name": " "}),
        ("name", {"name": "taken"}),
    ],
)
def test_what_cannot_be_kept_is_said(team: Team, field: str, given: dict[str, Any]) -> None:
    add(9, name="taken")
    words = {"name": "x", "base_url": "http://127.0.0.1:9/v1", "serves": ["a"], "key": OURS, "by": "alice"} | given
    with pytest.raises(ValidationError) as told:
        credentials.add(**words)
    assert field in told.value.message_dict
    assert OURS not in str(told.value)


def test_the_database_keeps_a_key_or_says_who_revoked_it(team: Team) -> None:
    provider = add(9)
    with pytest.raises(IntegrityError), transaction.atomic():
        Provider.objects.filter(pk=provider.pk).update(key="")
    with connection.cursor() as cursor:
        cursor.execute("SELECT p::text FROM agents_provider p")
        assert OURS not in str(cursor.fetchall())


def test_keys_of_providers_are_rotated_with_the_others(team: Team, settings: Any) -> None:
    assert (Provider, "key") in sealed_fields()
    provider = add(9)
    old, new = settings.ENCRYPTION_KEYS[0], os.urandom(32)
    settings.ENCRYPTION_KEYS = (new, old)
    call_command("rotate_secrets", stdout=io.StringIO())
    settings.ENCRYPTION_KEYS = (new,)
    provider.refresh_from_db()
    assert unseal(provider, "key") == OURS
    assert base64.b64encode(new).decode() not in provider.key
    provider.key = seal("x", provider, "key")


def test_owners_and_admins_give_keys_and_nobody_reads_them(
    team: Team, upstream: Upstream, client_for: ClientFor
) -> None:
    alice = client_for(user_of("alice", "acme"), team)
    given = {
        "name": "ours <b>",
        "base_url": f"http://127.0.0.1:{upstream.port}/v1",
        "serves": "small tiny",
        "key": OURS,
    }
    answer = alice.post(f"{ROOT}add/", given, follow=True)
    assert "ours &lt;b&gt;" in answer.text
    provider = Provider.objects.get()
    assert (provider.serves, provider.set_by, provider.key_end) == (
        ["small", "tiny"],
        str(user_of("alice", "acme")),
        "team",
    )
    tried = alice.post(f"{ROOT}{provider.pk}/try/", follow=True)
    assert "takes the key" in tried.text
    assert upstream.asked[-1][0] == "/v1/models"
    upstream.status = 401
    assert "does not take this key" in alice.post(f"{ROOT}{provider.pk}/try/", follow=True).text
    there = f"http://127.0.0.1:{upstream.port}/v2"
    assert there not in alice.post(f"{ROOT}{provider.pk}/replace/", {"base_url": there}, follow=True).text
    moved = alice.post(f"{ROOT}{provider.pk}/replace/", {"base_url": there, "key": OURS}, follow=True)
    assert there in moved.text
    replaced = alice.post(f"{ROOT}{provider.pk}/replace/", {"key": "sk-new-key-8899"}, follow=True)
    assert "…8899" in replaced.text
    provider.refresh_from_db()
    assert (unseal(provider, "key"), provider.base_url) == ("sk-new-key-8899", there)
    changed = alice.post(f"{ROOT}{provider.pk}/change/", {"serves": "big"}, follow=True)
    assert "<b>big</b>" in changed.text
    revoked = alice.post(f"{ROOT}{provider.pk}/revoke/", follow=True)
    assert "revoked by" in revoked.text
    again = alice.post(f"{ROOT}add/", given | {"base_url": "nowhere"})
    assert again.status_code == 422
    admin = alice.get(f"/admin/agents/provider/{provider.pk}/change/")
    assert admin.status_code == 200
    for page in (answer, tried, moved, replaced, changed, revoked, again, admin, alice.get("/settings/")):
        assert OURS not in page.text
        assert "sk-new-key-8899" not in page.text
    assert f'href="{ROOT}"' in alice.get("/settings/").text
    assert OURS not in str(list(Event.objects.values_list("payload", flat=True)))
    assert [e.payload["what"] for e in credentials.history()] == ["revoked", "changed", "replaced", "replaced", "added"]
    alice.post(f"{ROOT}{provider.pk}/remove/")
    assert not Provider.objects.exists()


def test_the_administration_takes_keys_and_shows_none(team: Team, client_for: ClientFor) -> None:
    client = client_for(user_of("alice", "acme"), team)
    given = {"name": "ours", "base_url": "http://127.0.0.1:9/v1", "serves": "small tiny", "key": OURS}
    assert "Name 1 to 50 models" in client.post("/admin/agents/provider/add/", given | {"serves": "x" * 121}).text
    assert client.post("/admin/agents/provider/add/", given).status_code == 302
    assert "already" in client.post("/admin/agents/provider/add/", given).text
    provider = Provider.objects.get()
    assert (unseal(provider, "key"), provider.serves) == (OURS, ["small", "tiny"])
    page = f"/admin/agents/provider/{provider.pk}/change/"
    there = {"base_url": "http://127.0.0.1:9/v2", "serves": "big"}
    assert "Another address needs the key anew" in client.post(page, there).text
    assert client.post(page, given | {"serves": "big", "key": ""}).status_code == 302
    assert client.post(page, there | {"key": "sk-for-there"}).status_code == 302
    provider.refresh_from_db()
    assert (unseal(provider, "key"), provider.base_url, provider.serves) == ("sk-for-there", there["base_url"], ["big"])
    assert [event.payload["what"] for event in credentials.history()] == ["replaced", "changed", "added"]
    for shown in (client.get(page).text, client.get("/admin/agents/provider/").text):
        assert OURS not in shown
        assert "sk-for-there" not in shown
        assert provider.key not in shown
    client.post("/admin/agents/provider/", {"action": "revoke_the_key", "_selected_action": [str(provider.pk)]})
    assert client.post(f"/admin/agents/provider/{provider.pk}/delete/", {"post": "yes"}).status_code == 302
    assert [event.payload["what"] for event in credentials.history()][:2] == ["removed", "revoked"]


@pytest.mark.parametrize(("role", "status"), [("viewer", 403), ("developer", 403), ("approver", 403), ("admin", 200)])
def test_others_do_not_see_the_page(team: Team, client_for: ClientFor, role: str, status: int) -> None:
    user = user_of("alice", "acme")
    Membership.objects.filter(user=user, team=team).update(role=role)
    client = client_for(user, team)
    assert client.get(ROOT).status_code == status
    given = {"name": "x", "base_url": "http://127.0.0.1:9/v1", "serves": "a", "key": OURS}
    assert client.post(f"{ROOT}add/", given).status_code == (302 if status == 200 else status)
    assert Provider.objects.exists() == (status == 200)


def test_an_operator_gives_a_key_on_standard_input(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*words: str, key: str = "") -> str:
        out = io.StringIO()
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{key}\n"))
        call_command("provider_key", *words, "--team", "acme", stdout=out)
        return out.getvalue()

    url = ["--url", "http://127.0.0.1:9/v1", "--models", "small", "tiny"]
    assert "small, tiny" in run("add", "ours", *url, key=OURS)
    assert unseal(Provider.objects.get(), "key") == OURS
    assert run("list").startswith("ours  http://127.0.0.1:9/v1  small,tiny  key ...team given by an operator")
    run("replace", "ours", "--url", "http://127.0.0.1:9/v2", key="sk-another-key")
    assert unseal(Provider.objects.get(), "key") == "sk-another-key"
    assert "http://127.0.0.1:9/v2" in run("list")
    assert "asked for big" in run("models", "ours", "--models", "big")
    with pytest.raises(CommandError, match="cannot be reached"):
        run("try", "ours")
    assert "is gone" in run("revoke", "ours")
    assert "revoked by an operator" in run("list")
    with pytest.raises(CommandError, match="no provider called other"):
        run("remove", "other")
    run("remove", "ours")
    assert not Provider.objects.exists()
