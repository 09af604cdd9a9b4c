"""What an agent, or whoever has its token, might try at the endpoints for programs. Real web process, real git."""

import gzip
import http.client
import io
import json
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect

from agents import rescue
from agents.models import Execution
from swarms import goals, projects
from swarms.models import Project
from swarms.workspace import repos
from swarms.workspace.git import configured, environment
from tenants import signin, tokens
from tenants.models import Runner, Team
from tests.board_stage import execution
from tests.board_stage import runner as platform_runner
from tests.conftest import user_of
from tests.web import Web, serve


def run(*words: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *words], cwd=folder, env=environment(**env), capture_output=True, text=True)


@dataclass
class Agent:
    """An agent at work: its token, its clone, and its way to the control plane."""

    web: Web
    project: Project
    execution: Execution
    secret: str
    clone: Path

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.web.port}/t/acme"

    @property
    def url(self) -> str:
        return f"{self.root}/git/{self.project.pk}.git"

    def git(self, *words: str, secret: str | None = None) -> subprocess.CompletedProcess[str]:
        header = {"http.extraHeader": f"Authorization: Bearer {secret or self.secret}"}
        return run(*words, folder=self.clone, **configured(header), GIT_ALLOW_PROTOCOL="http")

    def refs(self) -> dict[str, str]:
        """All refs of the control plane's repository."""
        listed = repos.git(repos.path_of(self.project.pk), "for-each-ref", "--format=%(refname) %(objectname)").stdout
        return dict(line.split() for line in listed.splitlines())

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        """One request with the path exactly as given."""
        link = http.client.HTTPConnection("127.0.0.1", self.web.port, timeout=60)
        known = {"Authorization": f"Bearer {self.secret}"} | {k.replace("_", "-"): v for k, v in headers.items()}
        try:
            link.request(method, path, body, known)
            answer = link.getresponse()
            return answer.status, answer.read()
        finally:
            link.close()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of the web process and of the tests."""
    return tmp_path_factory.mktemp("web") / "data"


@pytest.fixture(scope="module")
def web(django_db_setup: None, django_db_blocker: Any, data: Path) -> Iterator[Web]:
    with (
        django_db_blocker.unblock(),
        serve("config.asgi:application", data.parent, WAGGLE_DATA_DIR=str(data)) as running,
    ):
        yield running


@pytest.fixture
def agent(committed_team: Team, web: Web, data: Path, settings: Any, tmp_path: Path, broker: object) -> Agent:
    settings.DATA_DIR, settings.LOCAL_SOURCES = data, True
    source, alice = tmp_path / "source", user_of("alice", "acme")
    source.mkdir()
    (source / "a.txt").write_text("a\n")
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "begin"]):
        assert run(*words, folder=source).returncode == 0
    project = projects.add_project(name="Lists", slug="lists", source=str(source), by=alice)
    projects.fetch(project.pk)
    project.refresh_from_db()
    swarm = goals.state_goal(project, "Write", by=alice)
    live = execution(swarm, platform_runner(), f"node:{uuid.uuid4()}", "developer-1", state="running")
    repository = {"url": str(project.pk), "commit": project.head, "branch": f"attempt/{live.pk}"}
    Execution.objects.filter(pk=live.pk).update(assignment={"repository": repository})
    _, secret = tokens.issue("attempt", team=committed_team, subject=f"execution:{live.pk}", life=tokens.ATTEMPT_LIFE)
    made = Agent(web, project, live, secret, tmp_path)
    assert made.git("clone", "-q", made.url, "clone").returncode == 0
    made.clone = tmp_path / "clone"
    (made.clone / "a.txt").write_text("b\n")
    assert made.git("commit", "-q", "-am", "work").returncode == 0
    return made


def test_an_agent_moves_its_own_branch_and_nothing_else(agent: Agent, subtests: pytest.Subtests) -> None:
    own = f"refs/heads/attempt/{agent.execution.pk}"
    before = agent.refs()
    orphan = agent.git("commit-tree", "HEAD^{tree}", "-m", "another history").stdout.strip()
    tries = {
        "the target": ["HEAD:refs/heads/main"],
        "by force": [f"+{orphan}:refs/heads/main", "--force"],
        "a swarm's branch": [f"HEAD:refs/heads/swarm/{agent.execution.swarm}"],
        "another attempt": [f"HEAD:refs/heads/attempt/{uuid.uuid4()}"],
        "below its own": [f"HEAD:{own}/x"],
        "above its own": ["HEAD:refs/heads/attempt"],
        "a tag": ["HEAD:refs/tags/v1"],
        "what was read of the source": ["HEAD:refs/remotes/source/main"],
        "the head itself": ["HEAD:refs/heads/HEAD"],
        "delete the target": [":refs/heads/main"],
        "its own and another": [f"HEAD:{own}", "HEAD:refs/heads/main"],
        "a ref that climbs": ["HEAD:refs/heads/../../hooks/post-receive"],
    }
    for name, refspecs in tries.items():
        with subtests.test(name):
            assert agent.git("push", "-q", agent.url, *refspecs).returncode != 0
            assert agent.refs() == before
    assert agent.git("push", "-q", agent.url, f"HEAD:{own}").returncode == 0
    pushed = before | {own: agent.git("rev-parse", "HEAD").stdout.strip()}
    assert agent.refs() == pushed
    assert agent.git("push", "-q", agent.url, f":{own}").returncode != 0, "what was reported must not vanish"
    assert agent.refs() == pushed


def test_a_token_ends_with_its_execution_and_pushes_no_more_when_it_must_stop(agent: Agent) -> None:
    own = f"HEAD:refs/heads/attempt/{agent.execution.pk}"
    mine = Execution.objects.filter(pk=agent.execution.pk)
    mine.update(cancel_at=timezone.now())
    before = agent.refs()
    assert agent.git("push", "-q", agent.url, own).returncode != 0
    mine.update(cancel_at=None)
    live = tokens.Token.objects.filter(subject=f"execution:{agent.execution.pk}")
    for ended in ({"expires_at": timezone.now()}, {"expires_at": None, "revoked_at": timezone.now()}):
        live.update(**ended)
        assert agent.git("push", "-q", agent.url, own).returncode != 0
        assert agent.git("ls-remote", agent.url).returncode != 0
        assert agent.ask("POST", f"/t/acme/runner/{agent.execution.pk}/records", b"{}")[0] in (409, 422)
    live.update(revoked_at=None)
    mine.update(state="cancelled", ended_at=timezone.now())
    assert agent.git("push", "-q", agent.url, own).returncode != 0
    assert agent.refs() == before


def test_a_rescue_pushes_the_branch_of_what_is_over_and_does_nothing_else(agent: Agent, committed_team: Team) -> None:
    own = f"refs/heads/attempt/{agent.execution.pk}"
    subject = rescue.subject(agent.execution.pk)
    _, secret = tokens.issue("rescue", team=committed_team, subject=subject, life=rescue.LIFE)
    before = agent.refs()
    assert agent.git("push", "-q", agent.url, f"HEAD:{own}", secret=secret).returncode != 0, "it is still at work"
    tokens.revoke(f"execution:{agent.execution.pk}")
    Execution.objects.filter(pk=agent.execution.pk).update(state="lost", ended_at=timezone.now())
    assert agent.git("push", "-q", agent.url, f"HEAD:{own}").returncode != 0
    for refspec in ("HEAD:refs/heads/main", f"HEAD:refs/heads/attempt/{uuid.uuid4()}", f"HEAD:{own}/x"):
        assert agent.git("push", "-q", agent.url, refspec, secret=secret).returncode != 0
    assert agent.git("ls-remote", agent.url, secret=secret).returncode != 0
    shown = {"Authorization": f"Bearer {secret}"}
    assert agent.ask("POST", f"/t/acme/runner/{agent.execution.pk}/outcome", b"{}", **shown)[0] in (404, 409, 422)
    assert agent.ask("POST", "/t/acme/model/v1/chat/completions", b"{}", **shown)[0] == 401
    assert agent.refs() == before
    assert agent.git("push", "-q", agent.url, f"HEAD:{own}", secret=secret).returncode == 0
    assert agent.refs() == before | {own: agent.git("rev-parse", "HEAD").stdout.strip()}
    tokens.revoke(subject)
    assert agent.git("push", "-q", agent.url, f"HEAD~1:{own}", "--force", secret=secret).returncode != 0


def test_a_token_is_good_for_its_own_project_execution_and_kind(agent: Agent, committed_team: Team) -> None:
    other = projects.add_project(name="Other", slug="other", source=agent.project.source, by=user_of("alice", "acme"))
    projects.fetch(other.pk)
    assert agent.git("ls-remote", f"{agent.root}/git/{other.pk}.git").returncode != 0
    for path in (f"runner/{uuid.uuid4()}/records", f"runner/{uuid.uuid4()}/outcome"):
        assert agent.ask("POST", f"/t/acme/{path}", b"{}")[0] == 404
    subject = f"execution:{agent.execution.pk}"
    for kind in ("runner", "signin", "api"):
        _, secret = tokens.issue(kind, team=committed_team, subject=subject, life=tokens.ATTEMPT_LIFE)
        assert agent.git("ls-remote", agent.url, secret=secret).returncode != 0, kind
        shown = {"Authorization": f"Bearer {secret}"}
        assert agent.ask("POST", f"/t/acme/runner/{agent.execution.pk}/outcome", b"{}", **shown)[0] in (404, 409, 422)
        assert agent.ask("POST", "/t/acme/model/v1/chat/completions", b"{}", **shown)[0] == 401
    assert signin.link_token(agent.secret) is None


def test_only_runners_get_a_websocket_and_lose_it_with_their_token(agent: Agent) -> None:
    url = f"ws://127.0.0.1:{agent.web.port}/runner/"

    def refused(**headers: str) -> bool:
        try:
            connect(url, additional_headers=headers).close()
        except InvalidStatus as error:
            return error.response.status_code == 403
        return False

    assert refused()
    assert refused(Origin="http://acme.waggle.localhost:8000")
    assert refused(Authorization=f"Bearer {agent.secret}")
    token, secret = tokens.issue("runner", subject="runner:x")
    Runner.objects.create(name="x", token=token, capacity=1, sandbox="none")
    with connect(url, additional_headers={"Authorization": f"Bearer {secret}"}) as link:
        hello = {"type": "hello", "name": "x", "version": "1", "protocol": 1, "capacity": 1, "sandbox": "none"}
        link.send(json.dumps(hello | {"boot": str(uuid.uuid4())}))
        assert "welcome" in str(link.recv(timeout=30))
        tokens.revoke("runner:x")
        with pytest.raises(ConnectionClosedError, match="4401"):
            list(link)


def test_no_file_of_a_repository_is_served(agent: Agent, subtests: pytest.Subtests) -> None:
    head = agent.project.head
    below = f"/t/acme/git/{agent.project.pk}.git"
    paths = [
        *("/HEAD", "/config", "/hooks/pre-receive", "/objects/info/packs", "/info/refs", "/description", "/"),
        f"/objects/{head[:2]}/{head[2:]}",
        "/info/refs?service=git-upload-archive",
        "/info/refs?service=git-cat-file",
        *(
            "/../../config",
            "/..%2f..%2fconfig",
            "/%2e%2e/%2e%2e/x",
            "//etc/passwd",
            "/info/../HEAD",
            "/git-upload-pack",
        ),
        f"/../{agent.project.pk}.git/HEAD",
    ]
    for path in paths:
        with subtests.test(path):
            status, body = agent.ask("GET", below + path)
            assert status == 404
            assert b"ref:" not in body
    assert agent.ask("POST", f"{below}/git-upload-archive", b"0000")[0] == 404
    assert agent.ask("GET", f"{below}/info/refs?service=git-upload-pack")[0] == 200


def test_a_body_that_unpacks_to_far_too_much_changes_nothing(agent: Agent) -> None:
    before = agent.refs()
    path = f"/t/acme/git/{agent.project.pk}.git/git-receive-pack"
    ref = f"refs/heads/attempt/{agent.execution.pk}"
    line = f"{'0' * 40} {'1' * 40} {ref}\0report-status".encode()
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=9) as bomb:
        bomb.write(f"{len(line) + 4:04x}".encode() + line + b"0000PACK\0\0\0\2\0\0\0\1")
        # One blob that says of itself that it has 300 MB, which are all zero and deflated once more.
        bomb.write(b"\xb0\x80\x80\x80\x09" + b"\0" * (300 << 20))
    kind = "application/x-git-receive-pack-request"
    agent.ask("POST", path, packed.getvalue(), Content_Encoding="gzip", Content_Type=kind)
    assert agent.refs() == before
    assert not list(repos.path_of(agent.project.pk).glob("objects/pack/tmp_*"))


def test_a_body_without_end_is_cut_off_before_it_fills_the_disk(agent: Agent) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(400):
            sent += 1
            yield b" " * (1 << 20)

    link = http.client.HTTPConnection("127.0.0.1", agent.web.port, timeout=60)
    path = f"/t/acme/runner/{agent.execution.pk}/records"
    with suppress(OSError, http.client.HTTPException):
        link.request("POST", path, endless(), {"Transfer-Encoding": "chunked"})
        assert link.getresponse().status >= 400
    link.close()
    assert sent < 400


@pytest.mark.parametrize(
    "record",
    [
        {"type": "message", "role": "assistant", "model": "m" * 500},
        {"type": "message", "role": "assistant", "model": "nul \x00"},
        {"type": "part", "message": "own", "index": 10**12, "kind": "text", "text": "x"},
        {"type": "part", "message": "own", "index": 90, "kind": "tool", "tool": "t\x00", "input": {"a\x00": "\x00"}},
        {"type": "part", "message": "own", "index": 91, "kind": "step", "usage": {"input_tokens": 10**30}},
        {"type": "doing", "text": "\x00"},
        {"type": "delta", "part": str(uuid.uuid4()), "offset": 10**12, "text": "\x00"},
    ],
    ids=lambda record: record["type"],
)
def test_nonsense_in_a_transcript_is_taken_or_named_and_never_an_error(agent: Agent, record: dict[str, Any]) -> None:
    record = record | ({"id": str(uuid.uuid4())} if record["type"] in ("message", "part") else {})
    if record.get("message") == "own":
        message = agent.execution.session.messages.filter(role="assistant").first()
        assert message is not None
        record["message"] = str(message.pk)
    body = json.dumps({"fence": str(agent.execution.fence), "records": [record]}).encode()
    status, said = agent.ask("POST", f"/t/acme/runner/{agent.execution.pk}/records", body)
    assert status in (200, 422), said
