"""The OpenCode runtime, on the real program, a real repository, a scripted model and a real sandbox."""

import asyncio
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from agents.contracts import Assignment, FailureOutcome, FailureReason, PermissionGiven, ReviewOutcome, WorkOutcome
from agents.contracts.link import Steer
from agents.runner import leftovers
from agents.runtimes.inbox import Inbox
from agents.runtimes.opencode import client, runtime, server
from agents.runtimes.opencode.bridge import join
from agents.runtimes.opencode.install import NotInstalled, install
from tests.conformance import server_of
from tests.fake_control_plane import FakeControlPlane, call, serving, steps
from tests.test_steered_agents import carry_out, seen

POLITE = "def greet(name):\n    return f'Good day, {name}.'\n"
WRITES = [call("write", filePath="a.txt", content="a")]
DONE = [call("StructuredOutput", summary="It greets politely now.")]
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="session")
def program() -> Path:
    """OpenCode's program, as `make test-tools` installs it."""
    if shutil.which("rg") is None:
        pytest.skip("ripgrep is not installed")
    try:
        return install(Path(os.environ["WAGGLE_TEST_TOOLS"]))
    except NotInstalled as error:
        pytest.skip(str(error))


@pytest.fixture
def plane(tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeControlPlane]:
    monkeypatch.setenv("WAGGLE_RUNNER_OPENCODE", str(program))
    with serving(tmp_path / "plane") as plane:
        yield plane


def work(plane: FakeControlPlane, **changes: Any) -> Assignment:
    return plane.assignment(runtime="opencode", **changes)


def steer(kind: str = "message", text: str = "", question: UUID | None = None) -> Steer:
    return Steer.model_validate({"id": uuid4(), "kind": kind, "text": text, "by": "Alice", "question": question})


def said_to_model(request: dict[str, Any]) -> str:
    return "\n".join(str(message["content"]) for message in request["messages"])


def test_an_agent_of_opencode_changes_files_and_all_of_it_is_told(plane: FakeControlPlane, tmp_path: Path) -> None:
    plane.script = steps(
        [
            {"reasoning_content": "Hm."},
            {"content": "I look "},
            {"content": "first."},
            call("read", filePath="greet.py"),
        ],
        [
            call("write", filePath="greet.py", content=POLITE),
            call("read", filePath="/etc/passwd"),
            call("todowrite", todos=[{"content": "be polite", "status": "in_progress", "priority": "high"}]),
        ],
        [call("bash", command="env; touch extra.txt", description="look around")],
        [call("StructuredOutput")],
        DONE,
        DONE,
    )
    plane.faults = [["the summary is too short"]]

    outcome, _ = carry_out(work(plane), tmp_path / "run")

    assert isinstance(outcome, WorkOutcome), outcome
    assert outcome.files == ("extra.txt", "greet.py")
    assert plane.outcomes == [outcome]
    assert plane.git("rev-parse", "attempts/1") == outcome.commit
    assert plane.git("show", "attempts/1:greet.py") == POLITE.strip()
    # The transcript, as it happened.
    texts = plane.parts("text")
    assert texts[1].text == "# Node `greet`: Greet politely"
    assert texts[2].text == "I look first."
    assert plane.parts("reasoning")[0].text == "Hm."
    tools = plane.parts("tool")
    assert [(part.tool, part.state) for part in tools[:4]] == [
        ("read", "done"), ("write", "done"), ("read", "failed"), ("todowrite", "done"),
    ]  # fmt: skip
    assert tools[0].input == {"filePath": "greet.py"}
    assert "return 'hello ' + name" in tools[0].output
    assert tools[0].started_at <= tools[0].ended_at
    assert "+    return f'Good day, {name}.'" in plane.parts("patch")[0].text
    assert {part.usage.input_tokens for part in plane.parts("step")} == {11}
    doing = [record.text for record in plane.records if record.type == "doing"]
    assert "reading greet.py" in doing
    assert "0 of 1 done: be polite" in doing
    assert not [part for part in plane.parts() if part.state == "open"]
    places = [(part.message, part.index) for part in plane.parts()]
    assert len(places) == len(set(places)), "two parts have one place"
    # What breaks the contract went back to the agent, first by us and then by the control plane.
    assert "the summary is too short" in said_to_model(plane.requests[-1])
    assert "This breaks the contract" in said_to_model(plane.requests[-1])
    # The token is with the requests, and nowhere that the agent's commands can look.
    shell = next(part for part in tools if part.tool == "bash")
    assert "PATH=" in shell.output
    assert "wg_attempt_token" not in shell.output


def test_a_reviewer_reads_and_runs_but_has_no_tool_to_write(plane: FakeControlPlane, tmp_path: Path) -> None:
    finding = {"path": "greet.py", "line": 1, "severity": "note", "text": "Fine."}
    plane.script = steps([call("StructuredOutput", verdict="approve", summary="Good.", findings=[finding])])

    outcome, _ = carry_out(work(plane, kind="review"), tmp_path / "run")

    assert isinstance(outcome, ReviewOutcome), outcome
    assert (outcome.verdict, outcome.findings[0].path) == ("approve", "greet.py")
    offered = {tool["function"]["name"] for tool in plane.requests[0]["tools"]}
    assert {"read", "bash", "grep", "glob", "StructuredOutput"} <= offered
    assert not {"write", "edit", "task", "webfetch"} & offered


def test_rules_decide_what_the_agent_may_do_and_people_answer_its_questions(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    question = {"question": "Which name?", "header": "Name", "options": [{"label": "b", "description": "b"}]}
    plane.script = steps(
        [call("bash", command="touch yes.txt; true", description="x")],
        [call("bash", command="touch no.txt", description="x")],
        [call("write", filePath="greet.py", content=POLITE)],
        [call("read", filePath="greet.py"), call("question", questions=[question])],
        DONE,
    )
    no = PermissionGiven(verdict="deny", why="Not that one.")
    plane.judge = lambda asked: no if "no.txt" in str(asked.arguments) else PermissionGiven(verdict="allow")

    async def talk(inbox: Inbox) -> None:
        await seen(lambda: plane.parts("question"))
        inbox.put(steer("answer", "c.txt", question=plane.parts("question")[-1].id))

    outcome, taken = carry_out(work(plane), tmp_path / "run", talk)

    assert isinstance(outcome, WorkOutcome), outcome
    assert outcome.files == ("greet.py", "yes.txt")
    assert len(taken) == 1
    assert [(one.tool, one.arguments.get("command") or one.arguments["path"]) for one in plane.asked] == [
        ("shell", "touch yes.txt; true"), ("shell", "touch no.txt"), ("edit", "greet.py"),
    ]  # fmt: skip
    assert "Good day" in plane.asked[2].arguments["diff"]
    assert [part.text for part in plane.parts("question")] == ["Which name?"]
    told = said_to_model(plane.requests[-1])
    assert "Not that one." in told
    assert "c.txt" in told


def test_a_server_that_is_killed_is_started_again_and_the_same_session_goes_on(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    answers = iter(
        [WRITES, [{"content": "I ponder"}, {"pause": 30}], [call("bash", command="touch b.txt", description="x")], DONE]
    )
    plane.script = lambda messages: next(answers)

    async def kill(inbox: Inbox) -> None:
        await seen(lambda: [part for part in plane.parts("text") if part.text == "I ponder"])
        os.kill(server_of(tmp_path / "run"), signal.SIGKILL)

    outcome, _ = carry_out(work(plane), tmp_path / "run", kill)

    assert isinstance(outcome, WorkOutcome), outcome
    assert outcome.files == ("a.txt", "b.txt")
    assert [part.text for part in plane.parts("error")] == [
        "OpenCode's server died: exit code 137. It is started again, and the session goes on."
    ]
    # The session is the same: what was done before is known, and is in the transcript once.
    assert "interrupted in the middle of your work" in said_to_model(plane.requests[-1])
    assert [part.tool for part in plane.parts("tool")] == ["write", "bash", "StructuredOutput"]
    assert [part.text for part in plane.parts("text")].count("I ponder") == 1
    assert not [part for part in plane.parts() if part.state == "open"]


@pytest.mark.parametrize("when", ["its session is made", "it is stopped for a word"])
def test_a_server_that_is_killed_while_its_agent_is_told_something_hears_it_when_it_is_back(
    plane: FakeControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Nobody works on a prompt then: what the agent must be told next is owed."""
    verb = "create" if when == "its session is made" else "abort"
    plain = getattr(client.Client, verb)
    killed: list[int] = []

    async def once(self: client.Client, *words: Any) -> Any:
        done = await plain(self, *words)
        if not killed:
            killed.append(server_of(tmp_path / "run"))
            os.kill(killed[0], signal.SIGKILL)
        return done

    monkeypatch.setattr(client.Client, verb, once)
    pondering = [{"content": "I ponder"}, {"pause": 30}]
    answers = iter([*[pondering] * (verb == "abort"), WRITES, DONE])
    plane.script = lambda messages: next(answers)

    async def interrupt(inbox: Inbox) -> None:
        if verb == "abort":
            await seen(lambda: [part for part in plane.parts("text") if part.text == "I ponder"])
            inbox.put(steer("interrupt", "Write a.txt."))

    outcome, _ = carry_out(work(plane), tmp_path / "run", interrupt)

    assert isinstance(outcome, WorkOutcome), outcome
    assert killed
    assert ("Write a.txt." if verb == "abort" else "# Node `greet`") in said_to_model(plane.requests[-1])


class Relay:
    """Between our client and a server: a socket of which every connection can be cut."""

    def __init__(self, path: Path, target: str) -> None:
        self.path, self._target = str(path), target
        self._ends: list[asyncio.StreamWriter] = []
        self._opening = asyncio.ensure_future(asyncio.start_unix_server(self._join, self.path))

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far = await asyncio.open_unix_connection(self._target)
        self._ends += [writer, far[1]]
        await join(reader, writer, far)

    def cut(self) -> None:
        for end in self._ends:
            end.transport.abort()


def test_a_connection_that_is_cut_costs_nothing_and_doubles_nothing(
    plane: FakeControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relays: list[Relay] = []

    def connected(socket: str, password: str, directory: str) -> client.Client:
        relays.append(Relay(tmp_path / "relay.sock", socket))
        return client.Client(relays[-1].path, password, directory)

    monkeypatch.setattr(server, "Client", connected)
    plane.script = steps(
        [{"content": "One, "}, {"pause": 2.0}, {"content": "two."}, *WRITES],
        [call("bash", command="sleep 2; touch b.txt", description="x")],
        [{"content": "Three."}, *DONE],
    )

    async def cut(inbox: Inbox) -> None:
        await seen(lambda: [part for part in plane.parts("text") if part.text == "One, "])
        relays[0].cut()
        await seen(lambda: [part for part in plane.parts("tool") if part.tool == "bash" and part.input])
        relays[0].cut()

    outcome, _ = carry_out(work(plane), tmp_path / "run", cut)

    assert isinstance(outcome, WorkOutcome), outcome
    assert len(relays) == 1, "the server was started again"
    assert not plane.parts("error")
    said = [part.text for part in plane.parts("text")]
    assert (said.count("One, two."), said.count("Three.")) == (1, 1)
    assert [(part.tool, part.state) for part in plane.parts("tool")] == [
        ("write", "done"), ("bash", "done"), ("StructuredOutput", "done"),
    ]  # fmt: skip
    assert len(plane.requests) == 3


def test_an_attempt_whose_server_dies_again_and_again_is_lost_and_its_work_is_on_its_branch(
    plane: FakeControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "RESTARTS", 0)
    plane.script = steps(WRITES, [{"content": "I ponder"}, {"pause": 30}])

    async def kill(inbox: Inbox) -> None:
        await seen(lambda: [part for part in plane.parts("text") if part.text == "I ponder"])
        os.kill(server_of(tmp_path / "run"), signal.SIGKILL)

    assignment = work(plane)
    outcome, _ = carry_out(assignment, tmp_path / "run", kill)

    assert isinstance(outcome, FailureOutcome), outcome
    assert outcome.reason == FailureReason.LOST
    # As the runner's child does with what any runtime leaves.
    assert asyncio.run(leftovers.save(assignment, tmp_path / "run", 5))
    assert plane.git("show", "attempts/1:a.txt") == "a"


def test_a_runner_without_the_program_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAGGLE_RUNNER_OPENCODE", str(tmp_path / "nothing"))
    with serving(tmp_path / "plane") as plane:
        outcome, _ = carry_out(work(plane), tmp_path / "run")
    assert isinstance(outcome, FailureOutcome)
    assert "This runner has no OpenCode" in outcome.message
