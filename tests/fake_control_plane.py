"""A control plane just real enough for runners: websocket, records, outcomes, smart HTTP git, a scripted model."""

import asyncio
import hashlib
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID, uuid4

import uvicorn
from pydantic import TypeAdapter

from agents.contracts import (
    ArtifactKept,
    Assignment,
    Check,
    Limits,
    ModelAccess,
    Outcome,
    OutcomeReport,
    PermissionAsked,
    PermissionGiven,
    Record,
    RecordBatch,
    Repository,
)
from agents.contracts.link import (
    Accepted,
    Assign,
    Beat,
    Ended,
    Forget,
    FromRunner,
    Heard,
    Heartbeat,
    Hello,
    Hurry,
    Leaving,
    Order,
    Rescue,
    Said,
    Saved,
    ToRunner,
    Unsaved,
    Verdicts,
    Welcome,
)

RUNNER_TOKEN = "wg_runner_token"
FILES = {
    "greet.py": "def greet(name):\n    return 'hello ' + name\n",
    "README.md": "# greet\n",
    "docs/use.md": "Use it.\n",
}
Script = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]
"""From the messages of a request to the deltas of the answer, in OpenAI's form. Beside these: `pause` for so many
seconds, `abort` to break off, and as the only one `status`, with which an error's `code` is answered."""

_from_runner: TypeAdapter[FromRunner] = TypeAdapter(FromRunner)
_to_runner: TypeAdapter[ToRunner] = TypeAdapter(ToRunner)


REFUSAL = "Another process is there."


def call(tool: str, *, id: str = "", **arguments: Any) -> dict[str, Any]:
    """A delta in which the model calls a tool."""
    function = {"name": tool, "arguments": json.dumps(arguments)}
    return {"tool_calls": [{"id": id or f"call_{uuid4().hex[:8]}", "type": "function", "function": function}]}


def steps(*answers: list[dict[str, Any]]) -> Script:
    """A script that gives one answer after the other, by the number of answers before."""

    def play(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return answers[sum(message["role"] == "assistant" for message in messages)]

    return play


@dataclass
class FakeControlPlane:
    """What it was told, and what it shall answer. Use it as a context manager through `serving()`."""

    folder: Path
    script: Script = field(default_factory=lambda: steps())
    port: int = 0
    head: str = ""
    hellos: list[Hello] = field(default_factory=list)
    accepted: list[UUID] = field(default_factory=list)
    ended: list[UUID] = field(default_factory=list)
    let_go: dict[UUID, str] = field(default_factory=dict)
    """Why each execution ended, as the runner says."""
    beats: list[Beat] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    batches: int = 0
    outcomes: list[Outcome] = field(default_factory=list)
    faults: list[list[str]] = field(default_factory=list)
    """Answers 422 to as many outcomes, with these faults."""
    follows: list[Assignment] = field(default_factory=list)
    """What the answers to the next outcomes bring."""
    orders: dict[UUID, Order] = field(default_factory=dict)
    """What is said of an execution, if not to continue."""
    judge: Callable[[PermissionAsked], PermissionGiven] = lambda asked: PermissionGiven(verdict="allow")
    """What the team's rules and people say of the use of a tool."""
    asked: list[PermissionAsked] = field(default_factory=list)
    """What agents asked before they did something."""
    artifacts: dict[str, tuple[str, str, bytes]] = field(default_factory=dict)
    """Media type, fence and bytes of what was kept, by name."""
    largest: int = 1 << 30
    """Bytes that an artifact may have."""
    stale: bool = False
    down: bool = False
    refused: str = ""
    """Records that have this in them are refused."""
    refuses: int = 0
    """The code with which runners are refused."""
    lies: bool = False
    """Somebody on the way answers everything over HTTP with a page of its own."""
    requests: list[dict[str, Any]] = field(default_factory=list)
    """Bodies of the model's requests."""
    git_headers: list[str] = field(default_factory=list)
    no_websocket: int = 0
    """The status with which somebody on the way answers to a websocket."""
    no_push: set[str] = field(default_factory=set)
    """Tokens with which nobody may push."""
    leaving: int = 0
    """How often a runner said that it takes nothing more."""
    offered: list[Unsaved] = field(default_factory=list)
    rescue: str = ""
    """The token that answers who has unsaved work; `forget`: it shall be removed. An answer ends the token before."""
    holds_pushes: bool = False
    """Who pushes waits."""
    rescues: list[str] = field(default_factory=list)
    """The tokens that answered so far."""
    saved: list[Saved] = field(default_factory=list)
    _send: Any = None
    _told: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    """What waits for the next request that listens."""
    _loop: asyncio.AbstractEventLoop | None = None

    # What tests do

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def repository(self) -> Path:
        return self.folder / "repo.git"

    def assignment(self, kind: str = "work", **changes: Any) -> Assignment:
        """An assignment on this control plane."""
        execution = uuid4()
        values: dict[str, Any] = {
            "execution": execution,
            "fence": uuid4(),
            "team": "acme",
            "kind": kind,
            "subject": "node:greet",
            "title": "Greet politely",
            "role": {"plan": "coordinator", "review": "reviewer"}.get(kind, "developer"),
            "briefing": "# Node `greet`: Greet politely",
            "repository": Repository(
                url=f"{self.url}/git/repo.git",
                commit=self.head,
                branch="attempts/1",
                author="dev-1 <dev-1@acme.invalid>",
            ),
            "model": ModelAccess(base_url=f"{self.url}/model/v1", name="scripted"),
            "limits": Limits(seconds=20),
            "session": uuid4(),
            "token": "wg_attempt_token",
            "url": f"{self.url}/runner/{execution}",
            "lease_seconds": 5,
            "heartbeat_seconds": 0.2,
            "time_limit": 60,
            "unasked": ("read", "list", "search"),
        }
        return Assignment.model_validate(values | changes)

    def assign(self, assignment: Assignment) -> None:
        """Gives work to the runner that is connected."""
        assert self._loop is not None
        assert self._send is not None
        message = Assign(assignment=assignment).model_dump_json()
        asyncio.run_coroutine_threadsafe(self._send({"type": "websocket.send", "text": message}), self._loop).result(10)

    def hurry(self) -> None:
        """Asks the runner for a heartbeat."""
        assert self._loop is not None
        message = Hurry().model_dump_json()
        asyncio.run_coroutine_threadsafe(self._send({"type": "websocket.send", "text": message}), self._loop).result(10)

    def hang_up(self) -> None:
        """Closes the runner's websocket."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._send({"type": "websocket.close", "code": 1012}), self._loop).result(10)

    def forget(self) -> None:
        """Forgets what was reported, and the branches that were pushed."""
        for told in (self.accepted, self.ended, self.beats, self.records, self.outcomes, self.faults, self.requests):
            told.clear()
        for told in (self.asked, self.offered, self.saved, self.rescues, self.let_go, self.git_headers):
            told.clear()
        self.batches = 0
        for branch in self.git("for-each-ref", "--format=%(refname)", "refs/heads/attempts").split():
            self.git("update-ref", "-d", branch)

    def git(self, *arguments: str) -> str:
        """Runs git in the served repository."""
        return _git("-C", str(self.repository), *arguments)

    def parts(self, kind: str = "") -> list[Any]:
        """The last state of each recorded part, in the order of their beginning."""
        found: dict[UUID, Any] = {}
        for record in self.records:
            if record.type == "part":
                found[record.id] = record
        return [part for part in found.values() if kind in ("", part.kind)]

    # What it does

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await self._runner(scope, receive, send)
        elif scope["type"] == "http":
            body = await _body(receive)
            path = scope["path"]
            if self.lies:
                await _answer(send, 200, b"<html>Please log in", "text/html")
            elif path.startswith("/git/"):
                await self._git_backend(scope, body, send)
            elif path == "/runner/":
                await self._polled(scope, body, send)
            elif self.down:
                await _answer(send, 503, b"down")
            elif path.startswith("/model/"):
                await self._model(json.loads(body), send)
            elif path.endswith("/artifacts"):
                await self._artifact(scope, body, send)
            else:
                await self._report(path, body, send)

    async def _runner(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        await receive()
        if dict(scope["headers"]).get(b"authorization") != f"Bearer {RUNNER_TOKEN}".encode():
            await send({"type": "websocket.close", "code": 4401})
            return
        if self.no_websocket:
            await send({"type": "websocket.http.response.start", "status": self.no_websocket, "headers": []})
            await send({"type": "websocket.http.response.body", "body": b""})
            return
        await send({"type": "websocket.accept"})
        self._send, self._loop = send, asyncio.get_running_loop()
        while (event := await receive())["type"] == "websocket.receive":
            if self.refuses:
                await send({"type": "websocket.close", "code": self.refuses, "reason": REFUSAL})
                return
            if (reply := self._hear(_from_runner.validate_json(event["text"]))) is not None:
                await send({"type": "websocket.send", "text": reply.model_dump_json()})

    def _hear(self, message: FromRunner) -> ToRunner | None:
        match message:
            case Hello():
                self.hellos.append(message)
                return Welcome(runner=uuid4(), heartbeat_seconds=0.2)
            case Accepted():
                self.accepted.append(message.execution)
                return self._verdicts([message.execution])
            case Heartbeat():
                self.beats += message.executions
                return self._verdicts([beat.execution for beat in message.executions])
            case Leaving():
                self.leaving += 1
            case Unsaved():
                self.offered.append(message)
                if self.rescue == "forget":
                    return Forget(execution=message.execution)
                if self.rescue and not message.because:
                    self.no_push |= set(self.rescues)
                    self.rescues.append(f"{self.rescue}_{len(self.rescues)}" if self.rescues else self.rescue)
                    return Rescue(execution=message.execution, token=self.rescues[-1])
            case Saved():
                self.saved.append(message)
            case Ended():
                self.let_go[message.execution] = message.because
                self.ended.append(message.execution)
        return None

    async def _tell(self, event: dict[str, Any]) -> None:
        self._told.put_nowait(event["text"])

    async def _polled(self, scope: dict[str, Any], body: bytes, send: Any) -> None:
        if self.down or dict(scope["headers"]).get(b"authorization") != f"Bearer {RUNNER_TOKEN}".encode():
            await _answer(send, 503 if self.down else 401, b"no")
            return
        if self.refuses:
            await _answer(send, self.refuses - 4000, REFUSAL.encode(), "text/plain")
            return
        said = Said.model_validate_json(body)
        self._loop = asyncio.get_running_loop()
        heard = [reply for message in said.messages if (reply := self._hear(message)) is not None]
        if said.wait:
            self._send = self._tell
            with suppress(TimeoutError):
                heard.append(_to_runner.validate_json(await asyncio.wait_for(self._told.get(), 1)))
        await _answer(send, 200, Heard(messages=tuple(heard)).model_dump_json().encode())

    def _verdicts(self, executions: list[UUID]) -> Verdicts:
        return Verdicts(executions={one: self.orders.get(one, Order(verdict="continue")) for one in executions})

    async def _artifact(self, scope: dict[str, Any], body: bytes, send: Any) -> None:
        words = dict(parse_qsl(scope["query_string"].decode()))
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        assert int(headers["content-length"]) == len(body)
        if len(body) > self.largest:
            await _answer(send, 413, json.dumps({"faults": [f"{words['name']} is too large"]}).encode())
            return
        sha256 = hashlib.sha256(body).hexdigest()
        self.artifacts[words["name"]] = (words["media_type"], headers["x-waggle-fence"], body)
        told = ArtifactKept(artifact=uuid4(), name=words["name"], sha256=sha256, size=len(body))
        await _answer(send, 200, told.model_dump_json().encode())

    async def _report(self, path: str, body: bytes, send: Any) -> None:
        if self.stale:
            await _answer(send, 409, b"{}")
        elif path.endswith("/records") and self.refused and self.refused.encode() in body:
            await _answer(send, 413, b"too large", "text/plain")
        elif path.endswith("/records"):
            batch = RecordBatch.model_validate_json(body)
            self.records += batch.records
            self.batches += 1
            await _answer(send, 200, json.dumps({"accepted": len(batch.records)}).encode())
        elif path.endswith("/permission"):
            question = PermissionAsked.model_validate_json(body)
            self.asked.append(question)
            await _answer(send, 200, self.judge(question).model_dump_json().encode())
        elif self.faults:
            await _answer(send, 422, json.dumps({"faults": self.faults.pop(0)}).encode())
        else:
            report = OutcomeReport.model_validate_json(body)
            self.outcomes.append(report.outcome)
            answer: dict[str, Any] = {"accepted": True}
            if report.takes_next and self.follows:
                answer["next"] = self.follows.pop(0).model_dump(mode="json")
            await _answer(send, 200, json.dumps(answer).encode())

    async def _model(self, request: dict[str, Any], send: Any) -> None:
        self.requests.append(request)
        deltas = self.script(request["messages"])
        if deltas and "status" in deltas[0]:
            error = {"error": {"message": "no", "code": deltas[0]["code"]}}
            await _answer(send, deltas[0]["status"], json.dumps(error).encode())
            return
        await send(_start(200, "text/event-stream"))
        calls = 0
        for delta in deltas:
            for one in delta.get("tool_calls", ()):
                one["index"], calls = calls, calls + 1
            if pause := delta.get("pause"):
                await asyncio.sleep(pause)
            elif "abort" in delta:
                raise ConnectionError("the script breaks the connection")
            else:
                await send(_chunk([{"index": 0, "delta": {"role": "assistant", **delta}, "finish_reason": None}]))
        await send(_chunk([{"index": 0, "delta": {}, "finish_reason": "tool_calls" if calls else "stop"}]))
        usage = {
            "prompt_tokens": 11,
            "completion_tokens": 7,
            "total_tokens": 18,
            "prompt_tokens_details": {"cached_tokens": 3},
        }
        await send(_chunk([], usage=usage))
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    async def _git_backend(self, scope: dict[str, Any], body: bytes, send: Any) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        shown = headers.get("authorization", "")
        self.git_headers.append(shown)
        while self.holds_pushes and b"git-receive-pack" in scope["query_string"]:
            await asyncio.sleep(0.02)
        if shown.removeprefix("Bearer ") in self.no_push and b"git-receive-pack" in scope["query_string"]:
            await _answer(send, 404, b"not found", "text/plain")
            return
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REMOTE_USER": "agent",
            "REMOTE_ADDR": "127.0.0.1",
            "PATH_INFO": scope["path"].removeprefix("/git"),
            "QUERY_STRING": scope["query_string"].decode(),
            "REQUEST_METHOD": scope["method"],
            "CONTENT_TYPE": headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": headers.get("content-encoding", ""),
            "GIT_PROTOCOL": headers.get("git-protocol", ""),
        }
        process = await asyncio.create_subprocess_exec(
            "git", "http-backend", env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        output, _ = await process.communicate(body)
        head, _, content = output.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        status = int(fields.pop("Status", "200").split()[0])
        await _answer(send, status, content, fields.get("Content-Type", "text/plain"))


@contextmanager
def serving(folder: Path, script: Script | None = None) -> Iterator[FakeControlPlane]:
    """A control plane on a free port, with a small repository."""
    plane = FakeControlPlane(folder)
    if script:
        plane.script = script
    _make_repository(plane)
    listener = socket.create_server(("127.0.0.1", 0))
    plane.port = listener.getsockname()[1]
    config = uvicorn.Config(
        plane, log_level="critical", lifespan="off", timeout_graceful_shutdown=1, ws_ping_interval=None
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield plane
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


def until(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Waits for something to become true; fails with its name. While the machine stands still, so does the time."""
    looked, pause = time.monotonic(), 0.01
    while not condition():
        now = time.monotonic()
        seconds -= min(now - looked, 5.0)  # a condition may do work
        looked = now
        assert seconds > 0, f"did not happen: {what}"
        time.sleep(pause)
        pause = min(pause * 1.1, 0.06)  # asking again and again takes from those who are waited for


def ended(process: "subprocess.Popen[bytes]") -> int:
    """Waits for a process that ends; its exit code."""
    until(lambda: process.poll() is not None, "the process ends")
    return process.returncode


def check(command: str, timeout: int = 20) -> Check:
    return Check(name="the check", command=command, timeout=timeout)


def _make_repository(plane: FakeControlPlane) -> None:
    source = plane.folder / "source"
    for name, text in FILES.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    _git("init", "-q", "-b", "main", str(source))
    _git("-C", str(source), "add", ".")
    _git("-C", str(source), "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "first")
    _git("clone", "-q", "--bare", str(source), str(plane.repository))
    plane.head = plane.git("rev-parse", "main")


def _git(*arguments: str) -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
    return subprocess.run(
        ["git", *arguments], check=True, capture_output=True, text=True, env=environment
    ).stdout.strip()


async def _body(receive: Any) -> bytes:
    data = b""
    while True:
        event = await receive()
        data += event.get("body", b"")
        if not event.get("more_body"):
            return data


def _start(status: int, kind: str) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": [(b"content-type", kind.encode())]}


async def _answer(send: Any, status: int, body: bytes, kind: str = "application/json") -> None:
    await send(_start(status, kind))
    await send({"type": "http.response.body", "body": body})


def _chunk(choices: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> dict[str, Any]:
    data = {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "scripted-1",
        "choices": choices,
        "usage": usage,
    }
    return {"type": "http.response.body", "body": f"data: {json.dumps(data)}\n\n".encode(), "more_body": True}
