"""The model gateway in the real web process, with a scripted provider behind it."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import redis
from django.conf import settings
from django.db import connection
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from agents import callers, gateway, prices
from agents import provider as asking
from agents.contracts import Usage
from agents.course import Course
from agents.metering import CLIENT_GONE, NOT_REACHED, Meter
from agents.models import Execution, ModelCall
from agents.outreach import outreach
from agents.passage import Refused
from agents.provider import MOST_LINE, MOST_WHOLE
from agents.routes import Route, Way
from agents.runner.trust import trusted
from sessions.models import Event, Session
from tenants import tokens
from tenants.context import in_schema
from tenants.database import awaited
from tenants.ids import uuid7
from tenants.models import Runner, Team
from tests.web import Web, free_port, serve, until

KEY = "sk-provider-secret"
PROMPT = "a prompt that nobody may log"
ASK = {"model": "whatever the agent likes", "messages": [{"role": "user", "content": PROMPT}]}
USAGE = {"prompt_tokens": 1200, "completion_tokens": 34, "prompt_tokens_details": {"cached_tokens": 1000}}


def chunk(text: str, **more: Any) -> bytes:
    delta = {"index": 0, "delta": {"content": text}}
    return b"data: " + json.dumps({"model": "large-1", "choices": [delta], "usage": None} | more).encode() + b"\n\n"


@dataclass
class Provider:
    """An OpenAI-compatible server that does what a test says, and remembers what it was asked."""

    port: int = 0
    asked: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    status: int = 200
    chunks: list[bytes] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)
    broken: threading.Event = field(default_factory=threading.Event)
    break_off: bool = False

    def reset(self) -> None:
        self.asked, self.status, self.break_off = [], 200, False
        self.chunks = [chunk("hel"), chunk("lo"), chunk("", choices=[], usage=USAGE), b"data: [DONE]\n\n"]
        self.go_on.set()
        self.broken.clear()


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    provider: Provider

    def do_GET(self) -> None:
        self.provider.asked.append((self.path, dict(self.headers), None))
        self._whole({"object": "list", "data": [{"id": "large-1", "object": "model", "created": 0, "owned_by": "x"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.provider.asked.append((self.path, dict(self.headers), body))
        if self.provider.status != 200:
            self._whole({"error": {"message": "slow down", "type": "rate_limit", "code": "rate_limited"}})
        elif body.get("stream"):
            self._stream()
        else:
            choice = {"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}
            told = {"id": "1", "object": "chat.completion", "created": 0, "model": "large-1"}
            self._whole(told | {"choices": [choice], "usage": USAGE})

    def _whole(self, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(self.provider.status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        if self.provider.status == 429:
            self.send_header("retry-after", "7")
        self.end_headers()
        self.wfile.write(body)

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            for number, data in enumerate(self.provider.chunks):
                if number == 1:
                    self._wait()
                self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                if self.provider.break_off:
                    self.close_connection = True
                    return
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.provider.broken.set()

    def _wait(self) -> None:
        while not self.provider.go_on.wait(0.05):
            self.wfile.write(b"3\r\n:.\n\r\n")

    def log_message(self, *args: Any) -> None:
        """Keep quiet."""


@pytest.fixture(scope="module")
def server() -> Iterator[Provider]:
    with answering() as provider:
        yield provider


@contextmanager
def answering() -> Iterator[Provider]:
    """Such a server, while the block lasts."""
    provider = Provider()
    http_server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Answering,), {"provider": provider}))
    http_server.daemon_threads = True
    provider.port = http_server.server_address[1]
    threading.Thread(target=http_server.serve_forever, daemon=True).start()
    yield provider
    http_server.shutdown()
    http_server.server_close()


@pytest.fixture
def provider(server: Provider) -> Provider:
    server.reset()
    # A 429 of the test before must not hold up this one's calls.
    redis.Redis.from_url(settings.STREAM_URL).flushdb()
    return server


@pytest.fixture(scope="module")
def web(
    server: Provider, django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Web]:
    model = {
        "WAGGLE_MODEL_BASE_URL": f"http://127.0.0.1:{server.port}/v1",
        "WAGGLE_MODEL_API_KEY": KEY,
        "WAGGLE_MODEL_NAME": "large",
    }
    with (
        django_db_blocker.unblock(),
        serve("config.asgi:application", tmp_path_factory.mktemp("web"), **model) as running,
    ):
        yield running


@dataclass
class Agent:
    """A running execution, and the key that its agent has."""

    execution: Execution
    secret: str

    def post(self, web: Web, body: Any = ASK, **options: Any) -> httpx.Response:
        """One call, as an agent makes it."""
        with self.calling() as client:
            return client.post(completions(web), json=body, **options)

    def calling(self) -> httpx.Client:
        """An HTTP client with the agent's key."""
        headers = {"authorization": f"Bearer {self.secret}"}
        return httpx.Client(headers=headers, timeout=60, verify=trusted(), trust_env=False)


def completions(web: Web, slug: str = "acme") -> str:
    return f"http://127.0.0.1:{web.port}/t/{slug}/model/v1/chat/completions"


@pytest.fixture
def agent(committed_team: Team) -> Agent:
    return working(committed_team)


def working(team: Team) -> Agent:
    token, _ = tokens.issue("runner")
    session = Session.objects.create(subject="swarm:x", title="tokens", agent="developer-1")
    swarm = uuid7()
    execution = Execution.objects.create(
        kind="work",
        subject=f"node:{uuid7()}",
        swarm=swarm,
        session=session,
        agent="developer-1",
        assignment={},
        runner=Runner.objects.create(name=f"runner-{swarm}", token=token),
        lease_until=timezone.now() + timedelta(minutes=5),
        trace="0123456789abcdef0123456789abcdef",
    )
    _, secret = tokens.issue("attempt", team=team, subject=f"execution:{execution.pk}", life=tokens.ATTEMPT_LIFE)
    return Agent(execution, secret)


def kept() -> ModelCall:
    """The only call; its row comes right after the answer's last byte."""
    until(ModelCall.objects.exists)
    return ModelCall.objects.get()


def test_a_whole_answer_passes_and_is_metered(web: Web, provider: Provider, agent: Agent) -> None:
    answer = agent.post(web)
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"] == "hello"
    call = kept()
    assert (call.status, call.model, call.rehearsal) == (200, "large-1", False)
    assert (call.input_tokens, call.cached_tokens, call.output_tokens) == (1200, 1000, 34)
    assert call.cost_microusd is None
    assert (call.execution, call.trace) == (agent.execution, agent.execution.trace)
    event = Event.objects.get(subject=f"swarm:{agent.execution.swarm}")
    assert (event.kind, event.actor, event.trace) == ("model.called", "agent:developer-1", agent.execution.trace)
    assert event.payload == {
        "session": str(agent.execution.session_id),
        "model": "large-1",
        "provider": "",
        "rehearsal": False,
        "status": 200,
        "input_tokens": 1200,
        "output_tokens": 34,
        "cost_microusd": None,
        "because": "",
    }


def test_the_provider_gets_our_key_and_model_and_nothing_of_the_agents(
    web: Web, provider: Provider, agent: Agent
) -> None:
    agent.post(web, ASK | {"stream": True, "stream_options": {"include_usage": False}, "temperature": 0.5})
    ((path, headers, body),) = provider.asked
    assert path == "/v1/chat/completions"
    assert {name.lower(): value for name, value in headers.items()}["authorization"] == f"Bearer {KEY}"
    assert agent.secret not in json.dumps(headers)
    assert body == {
        "model": "large",
        "messages": ASK["messages"],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
    }


def test_a_stream_passes_as_it_comes_byte_for_byte(web: Web, provider: Provider, agent: Agent) -> None:
    provider.go_on.clear()
    with agent.calling() as client, client.stream("POST", completions(web), json=ASK | {"stream": True}) as answer:
        arriving = answer.iter_bytes()
        received = next(arriving)
        assert received.startswith(provider.chunks[0])
        assert _connections_in_use() == 0
        provider.go_on.set()
        received += b"".join(arriving)
    assert received.replace(b":.\n", b"") == b"".join(provider.chunks)
    call = kept()
    assert (call.input_tokens, call.output_tokens, call.model) == (1200, 34, "large-1")


def _connections_in_use() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND backend_type = 'client backend' AND pid <> pg_backend_pid() AND state <> 'idle'"
        )
        return int(cursor.fetchone()[0])


def test_openai_s_client_talks_to_it(web: Web, provider: Provider, agent: Agent) -> None:
    root = completions(web).removesuffix("/chat/completions")
    with openai.OpenAI(base_url=root, api_key=agent.secret, http_client=httpx.Client(trust_env=False)) as client:
        assert [model.id for model in client.models.list()] == ["large-1"]
        said = client.chat.completions.create(model="x", messages=[{"role": "user", "content": "hi"}], stream=True)
        assert "".join(part.choices[0].delta.content or "" for part in said if part.choices) == "hello"
    assert kept().status == 200


def test_who_hangs_up_after_the_end_has_heard_all(web: Web, provider: Provider, agent: Agent) -> None:
    provider.chunks.append(b": and then nothing\n\n")
    provider.chunks = [b"".join(provider.chunks[:-1]), provider.chunks[-1]]
    provider.go_on.clear()
    with agent.calling() as client, client.stream("POST", completions(web), json=ASK | {"stream": True}) as answer:
        next(answer.iter_bytes())
    call = kept()
    assert (call.status, call.output_tokens) == (200, 34)


def test_the_providers_errors_pass_through(web: Web, provider: Provider, agent: Agent) -> None:
    provider.status = 429
    answer = agent.post(web)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert answer.json()["error"]["message"] == "slow down"
    call = kept()
    assert (call.status, call.model, call.input_tokens) == (429, "large", 0)


def test_a_provider_that_fails_again_and_again_is_left_alone(web: Web, provider: Provider, agent: Agent) -> None:
    provider.status = 500
    for _ in range(10):
        assert agent.post(web).status_code == 500
    until(lambda: ModelCall.objects.count() == 10)
    refused = agent.post(web)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "provider_unavailable")
    assert 7 <= int(refused.headers["retry-after"]) <= 12
    assert len(provider.asked) == 10
    until(lambda: Event.objects.filter(subject="team").exists())
    event = Event.objects.get(subject="team")
    assert (event.kind, event.payload["before"], event.payload["after"]) == ("breaker.moved", "closed", "open")
    assert event.payload["because"] == "the provider answered HTTP 500"
    assert ModelCall.objects.count() == 10


def test_who_hangs_up_ends_the_providers_call_too(web: Web, provider: Provider, agent: Agent) -> None:
    provider.go_on.clear()
    with agent.calling() as client, client.stream("POST", completions(web), json=ASK | {"stream": True}) as answer:
        next(answer.iter_bytes())
    assert provider.broken.wait(20)
    assert kept().status == CLIENT_GONE


def test_a_stream_that_breaks_off_says_so_inside_the_stream(web: Web, provider: Provider, agent: Agent) -> None:
    provider.break_off = True
    answer = agent.post(web, ASK | {"stream": True})
    last = [line for line in answer.text.splitlines() if line.startswith("data: ")][-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "model_unreachable"
    assert kept().status == 502


@pytest.mark.parametrize(
    "change",
    [
        lambda agent: tokens.revoke(f"execution:{agent.execution.pk}"),
        lambda agent: Execution.objects.update(cancel_at=timezone.now()),
        lambda agent: Execution.objects.update(state="done", ended_at=timezone.now()),
    ],
    ids=["token revoked", "asked to stop", "ended"],
)
def test_who_may_not_work_any_more_may_not_ask_the_model(
    web: Web, provider: Provider, agent: Agent, change: Any
) -> None:
    assert agent.post(web).status_code == 200
    change(agent)
    refused = agent.post(web)
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
    assert len(provider.asked) == 1


def test_tokens_of_others_are_refused(web: Web, provider: Provider, agent: Agent, committed_team: Team) -> None:
    _, api = tokens.issue("api", team=committed_team, subject=f"execution:{agent.execution.pk}")
    _, unbound = tokens.issue("attempt", team=committed_team)
    _, gone = tokens.issue("attempt", team=committed_team, subject=f"execution:{uuid7()}")
    for secret in ("wg_nonsense", api, unbound, gone):
        assert Agent(agent.execution, secret).post(web).status_code == 401
    for slug in ("globex", "nobody"):
        with agent.calling() as client:
            assert client.post(completions(web, slug), json=ASK).status_code == 401
    assert httpx.post(completions(web), json=ASK, trust_env=False).status_code == 401
    assert provider.asked == []


def test_the_same_execution_in_another_team_is_nobodys(web: Web, provider: Provider, agent: Agent) -> None:
    globex = Team.objects.get(domains__slug="globex")
    _, secret = tokens.issue("attempt", team=globex, subject=f"execution:{agent.execution.pk}")
    with in_schema(globex.schema_name):
        assert not Execution.objects.exists()
    with Agent(agent.execution, secret).calling() as client:
        assert client.post(completions(web, "globex"), json=ASK).status_code == 401
        assert client.post(completions(web, "acme"), json=ASK).status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "chat/completions", b"{", 400, "invalid_json"),
        ("POST", "chat/completions", b"[]", 400, "invalid_json"),
        ("POST", "chat/completions", b'{"messages": ' + b"[" * 100_000, 400, "invalid_json"),
        ("GET", "chat/completions", None, 405, "method_not_allowed"),
        ("POST", "embeddings", b"{}", 404, "not_found"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(
    web: Web, provider: Provider, agent: Agent, method: str, path: str, body: bytes | None, status: int, code: str
) -> None:
    with agent.calling() as client:
        url = completions(web).replace("chat/completions", path)
        answer = client.request(method, url, content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert not ModelCall.objects.exists()


def test_a_request_beyond_the_limit_is_refused(web: Web, provider: Provider, agent: Agent) -> None:
    with agent.calling() as client:
        answer = client.post(completions(web), content=b" " * (gateway.BODY_LIMIT + 1))
    assert answer.status_code == 413
    assert provider.asked == []


def test_without_a_model_the_variable_is_named(agent: Agent, tmp_path: Path) -> None:
    with serve("config.asgi:application", tmp_path) as web:
        answer = agent.post(web)
    assert answer.status_code == 503
    assert "WAGGLE_MODEL_BASE_URL" in answer.json()["error"]["message"]


def test_an_unreachable_provider_is_said_without_its_secrets(agent: Agent, tmp_path: Path) -> None:
    port = free_port()
    model = {
        "WAGGLE_MODEL_BASE_URL": f"http://user:hidden@127.0.0.1:{port}/v1",
        "WAGGLE_MODEL_NAME": "rehearsal",
        "WAGGLE_MODEL_REHEARSAL": "1",
    }
    with serve("config.asgi:application", tmp_path, **model) as web:
        answer = agent.post(web)
        call = kept()
    assert answer.status_code == 502
    message = answer.json()["error"]["message"]
    assert f"http://127.0.0.1:{port}" in message
    assert "WAGGLE_MODEL_BASE_URL" in message
    assert "hidden" not in message
    assert (call.status, call.rehearsal, call.cost_microusd) == (NOT_REACHED, True, 0)


def test_no_log_holds_a_prompt_or_a_key(web: Web, provider: Provider, agent: Agent) -> None:
    agent.post(web)
    kept()
    until(lambda: "model called" in web.log.read_text())
    log = web.log.read_text()
    assert agent.execution.trace in log
    for secret in (PROMPT, KEY, agent.secret, "hello"):
        assert secret not in log


def test_the_rehearsal_is_a_provider_like_any_other(agent: Agent, tmp_path: Path) -> None:
    with serve("agents.rehearsal.app:application", tmp_path) as rehearsal:
        model = {
            "WAGGLE_MODEL_BASE_URL": f"http://127.0.0.1:{rehearsal.port}/v1",
            "WAGGLE_MODEL_NAME": "rehearsal",
            "WAGGLE_MODEL_REHEARSAL": "1",
        }
        with serve("config.asgi:application", tmp_path, **model) as web:
            assert agent.post(web, {"messages": ASK["messages"]}).status_code == 200
            call = kept()
    assert (call.model, call.rehearsal, call.cost_microusd) == ("rehearsal", True, 0)
    assert call.input_tokens > 0


def test_a_price_is_known_where_the_provider_is() -> None:
    usage = Usage(input_tokens=1_000_000, cached_tokens=0, output_tokens=0)
    known = prices.cost_microusd("gpt-4o", usage, base_url="https://api.openai.com/v1")
    assert known is not None
    assert known > 0
    cached = usage.model_copy(update={"cached_tokens": 1_000_000})
    cheaper = prices.cost_microusd("gpt-4o", cached, base_url="https://api.openai.com/v1")
    assert cheaper is not None
    assert 0 < cheaper < known
    assert prices.cost_microusd("gpt-4o", usage, base_url="http://127.0.0.1:8080/v1") is None
    assert prices.cost_microusd("model-of-next-year", usage, base_url="https://api.openai.com/v1") is None


@given(data=st.data())
def test_a_meter_reads_the_same_however_the_bytes_are_cut(data: st.DataObject) -> None:
    texts = data.draw(st.lists(st.text(max_size=20), max_size=5))
    body = b"".join([*(chunk(text) for text in texts), chunk("", choices=[], usage=USAGE), b"data: [DONE]\n\n"])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=6)))
    meter = Meter()
    meter.begin(streamed=True)
    for start, stop in zip([0, *cuts], [*cuts, len(body)], strict=True):
        meter.feed(body[start:stop])
    meter.end()
    assert meter.usage == Usage(input_tokens=1200, output_tokens=34, cached_tokens=1000)
    assert meter.model == "large-1"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"null",
        b"no json",
        b'{"usage": "many"}',
        b'{"usage": {"prompt_tokens": "9"}, "model": 3}',
        b'{"usage": {"prompt_tokens": -5, "prompt_tokens_details": null}}',
    ],
)
def test_a_meter_takes_nonsense_for_nothing(answer: bytes) -> None:
    meter = Meter()
    meter.feed(answer)
    meter.end()
    assert meter.usage == Usage()


def test_half_a_letter_in_a_prompt_is_no_obstacle(web: Web, provider: Provider, agent: Agent) -> None:
    body = b'{"messages": [{"role": "user", "content": "cut \\ud83d here"}]}'
    assert agent.post(web, None, content=body).status_code == 200
    assert provider.asked[0][2]["messages"][0]["content"] == "cut ? here"


def image(url: str, **more: Any) -> dict[str, Any]:
    part = {"type": "image_url", "image_url": {"url": url}} | more
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "see https://ok.example"}, part]}]}


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        (image("https://evil.example/?secret=1"), "image_url with an address"),
        (image(" HTTP://evil.example/x"), "image_url with an address"),
        (image("", image_url="s3://bucket/x"), "image_url with an address"),
        (image("", type="file", file={"file_data": "https://evil.example/a.pdf"}), "file with an address"),
        (image("", deep=[{"a": [{"b": "ftp://evil.example"}]}]), "image_url with an address"),
        ({"tools": [{"type": "web_search"}]}, "a tool of type web_search"),
        ({"tools": [{"type": "mcp", "server_url": "https://evil.example"}]}, "a tool of type mcp"),
        ({"web_search_options": {"search_context_size": "low"}}, "web_search_options"),
        ({"plugins": [{"id": "web"}]}, "plugins"),
        (image("data:image/png;base64,AAAA"), ""),
        ({"messages": [{"role": "user", "content": "look at https://ok.example"}]}, ""),
        ({"tools": [{"type": "function", "function": {"name": "f", "description": "https://ok.example"}}]}, ""),
        ({"tools": None, "messages": "none", "web_search_options": None, "plugins": []}, ""),
        ({"messages": [{"content": [{"type": "thinking", "thinking": "https://ok.example"}, 3, None]}, 4]}, ""),
    ],
)
def test_no_request_has_the_provider_reach_out_for_an_agent(asked: dict[str, Any], what: str) -> None:
    assert outreach(asked) == what
    body = json.dumps(asked).encode()
    if not what:
        assert json.loads(gateway.prepared(body, "large"))["model"] == "large"
        return
    with pytest.raises(Refused, match=what) as refused:
        gateway.prepared(body, "large")
    assert (refused.value.status, refused.value.code) == (400, "reaches_out")


OddAnswer = tuple[dict[str, str], bytes, int]


class Odd:
    """Answers that no provider should give: headers, the body, and what the agent gets of it."""

    UNPACKABLE = ({"content-encoding": "gzip"}, b"no gzip", 502)
    ENDLESS: OddAnswer = ({}, b" " * (MOST_WHOLE + 1), 502)
    LINE_WITHOUT_END = ({"content-type": "text/event-stream"}, b"data: " + b"x" * MOST_LINE, 200)
    DEEP: OddAnswer = ({}, b"[" * 100_000, 200)
    DEEP_LINE = ({"content-type": "text/event-stream"}, b"data: " + b"[" * 100_000 + b"\n\n", 200)
    OTHER_LETTERS = ({"x-request-id": "r-\u2026"}, b"{}", 200)
    NAMELESS: OddAnswer = ({}, b'{"model": "large\\u0000\\ud83d", "usage": {"prompt_tokens": 3}}', 200)


@pytest.mark.parametrize("odd", [name for name in vars(Odd) if name.isupper()])
def test_no_answer_of_a_provider_breaks_the_gateway(
    web: Web, provider: Provider, agent: Agent, odd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers, body, status = getattr(Odd, odd)

    def answer(self: Answering) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        for name, value in ({"content-length": str(len(body)), "content-type": "application/json"} | headers).items():
            self.send_header(name, value.encode().decode("latin-1"))
        self.end_headers()
        with suppress(OSError):  # whoever asked has hung up
            self.wfile.write(body)

    monkeypatch.setattr(Answering, "do_POST", answer)
    got = agent.post(web)
    assert got.status_code == status
    assert kept().status == (502 if odd == "LINE_WITHOUT_END" else 0 if status == 502 else 200)
    assert "Traceback" not in web.log.read_text()


@pytest.mark.parametrize("is_stream", [True, False])
@pytest.mark.parametrize("bound", ["time", "bytes"])
def test_an_answer_without_end_is_ended_and_the_agent_hears_why(
    provider: Provider, bound: str, is_stream: bool, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    def answer(self: Answering) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream" if is_stream else "application/json")
        self.end_headers()
        with suppress(OSError):  # whoever asked has hung up
            while not time.sleep(0.01):
                self.wfile.write(chunk("on and on"))

    monkeypatch.setattr(Answering, "do_POST", answer)
    for name in ("MOST_STREAM", "MOST_WHOLE"):
        monkeypatch.setattr(asking, name, 1 << 30 if bound == "time" else 3 << 10)
    settings.MODEL_SECONDS = 3 if bound == "time" else 60  # its beginning comes in time on a busy machine, too
    words, status = ("did not end its answer within 3 s", 504) if bound == "time" else ("more than 0 MB", 502)
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    route = Route(f"http://127.0.0.1:{provider.port}/v1", "large")
    call = asking.Call("POST", "chat/completions", b"{}", schema="x", execution=uuid7())
    meter = Meter()
    made = asking.ask(call, Course((Way(route, KEY),)), meter, send)
    if is_stream:
        assert asyncio.run(made) == 502
        assert (meter.model, meter.is_sent) == ("large-1", True)
        error = sent[-1]["body"].partition(b"data: ")[2].strip()
        assert words in json.loads(error)["error"]["message"]
    else:
        with pytest.raises(Refused, match=words) as refused:
            asyncio.run(made)
        assert (refused.value.status, sent) == (status, [])


def test_a_slow_answer_does_not_hold_others_up(web: Web, provider: Provider, agent: Agent) -> None:
    provider.go_on.clear()
    with agent.calling() as client, client.stream("POST", completions(web), json=ASK | {"stream": True}) as answer:
        arriving = answer.iter_bytes()
        next(arriving)
        assert agent.post(web).status_code == 200
        provider.go_on.set()
        assert b"[DONE]" in b"".join(arriving)
    until(lambda: ModelCall.objects.count() == 2)


def test_calls_of_a_team_are_in_its_schema(team: Team) -> None:
    assert not ModelCall.objects.exists()


@pytest.mark.django_db
def test_a_token_of_a_team_that_was_deleted_meanwhile_is_refused() -> None:
    digest = tokens.digest("wg_known")
    callers._known[digest] = ("t_gone", uuid7())

    async def call() -> None:
        try:
            await callers.caller_of("gone", "wg_known")
        finally:
            await awaited._pool_of_this_loop().close()

    with pytest.raises(Refused) as refused:
        asyncio.run(call())
    assert refused.value.status == 401
    assert digest not in callers._known
