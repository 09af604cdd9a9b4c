"""What every runtime must do, on a real runner, a real repository and a real sandbox; see tests/conformance.py."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agents.contracts import (
    AGENT_RUNTIMES,
    REVERTING,
    AnswerAsked,
    FailureOutcome,
    FailureReason,
    PermissionAsked,
    PermissionGiven,
    WorkOutcome,
)
from agents.contracts.link import Order
from agents.runner.sandbox import SandboxMissing
from agents.runtimes import RUNTIMES
from agents.runtimes.capabilities import Capabilities
from tests.conformance import (
    Ask,
    Builtin,
    Command,
    Driver,
    Finish,
    Missing,
    OpenCode,
    Run,
    Say,
    Stage,
    Write,
    holding,
    marker,
    sleeping,
    steer,
)
from tests.conformance_acp import Acp
from tests.fake_control_plane import FakeControlPlane, serving, until
from tests.test_builtin_runtime import carry_out
from tests.test_runner import ROOT, child_of, processes_now_with, running
from tests.test_sandbox import parent_of, processes_with

DRIVERS: tuple[Driver, ...] = (Builtin(), OpenCode(), Acp(), Command())
DONE = Finish("It greets politely now.")
GREETING = "ein Gruß: ¡Hola! 你好 😀 e\u0301"
CANCEL_SECONDS = 5
GROWTH_MB = 40
"""How much more memory an agent's 50 MB may cost the process that carries the agent out."""
TRANSCRIPT_BYTES = 2_000_000


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str] | str]:
    """By runtime: the variables of its runner, or what is missing."""
    found: dict[str, dict[str, str] | str] = {}
    for driver in DRIVERS:
        try:
            found[driver.runtime] = driver.environment(tmp_path_factory.mktemp(driver.runtime))
        except Missing as error:
            found[driver.runtime] = str(error)
    return found


@pytest.fixture(scope="module")
def fleet(
    tmp_path_factory: pytest.TempPathFactory, variables: dict[str, dict[str, str] | str]
) -> Iterator[tuple[FakeControlPlane, Path]]:
    """A control plane with one runner, which has all programs that the drivers could find."""
    folder = tmp_path_factory.mktemp("fleet")
    environment = {key: value for each in variables.values() if isinstance(each, dict) for key, value in each.items()}
    with serving(folder / "plane") as plane, running(plane, folder / "runner", **environment):
        yield plane, folder / "runner"


def driven(*, by: Callable[[Capabilities], bool] = lambda can: True) -> pytest.MarkDecorator:
    """For each runtime that can do what the case asks for."""
    able = [driver for driver in DRIVERS if by(RUNTIMES[driver.runtime].CAN)]
    return pytest.mark.parametrize("driver", able, ids=[driver.runtime for driver in able])


@pytest.fixture
def stage(
    driver: Driver, fleet: tuple[FakeControlPlane, Path], variables: dict[str, dict[str, str] | str]
) -> Iterator[Stage]:
    """One runtime; what a case leaves running is ended after it."""
    if isinstance(missing := variables[driver.runtime], str):
        pytest.skip(missing)
    plane, runner = fleet
    plane.forget()
    yield Stage(driver, plane, runner)
    plane.orders = {execution: Order(verdict="stale") for execution in plane.accepted}
    until(lambda: set(plane.accepted) <= set(plane.ended), "all work ends")
    plane.orders = {}
    plane.judge = lambda asked: PermissionGiven(verdict="allow")


WORDS = {True: "yes", False: "no"}


pytestmark = pytest.mark.timeout(300)


def test_every_runtime_takes_part() -> None:
    assert [driver.runtime for driver in DRIVERS] == list(AGENT_RUNTIMES)


def test_the_documented_table_says_what_each_runtime_declares() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| (.*) \|$", (ROOT / "docs/runtimes.md").read_text(), re.MULTILINE)
    declared = {
        name: [
            each.CAN.hears,
            WORDS[each.CAN.asks],
            WORDS[each.CAN.seeks_permission],
            "while they run" if each.CAN.streams_commands else "when they end",
            each.CAN.crash,
            WORDS[each.CAN.reverts],
        ]
        for name, each in RUNTIMES.items()
    }
    assert {name: said.split(" | ") for name, said in rows} == declared


def test_the_control_plane_knows_which_runtimes_can_take_back_what_an_agent_did() -> None:
    assert set(REVERTING) == {name for name, each in RUNTIMES.items() if each.CAN.reverts}


@driven()
def test_what_an_agent_does_is_told_while_it_works_and_its_changes_are_pushed(stage: Stage) -> None:
    mark = marker()
    assignment = stage.begin(
        Say(GREETING),
        Write("größe/你好.txt", f"{GREETING}\n"),
        Run("cat größe/*; env; python3 -c \"print(open('/proc/1/environ').read())\""),
        Run(f"echo 'it be''gins'; {holding(mark).command}"),
        DONE,
    )
    stage.begun(mark)

    # While it works: what it said, and what its commands printed; also those that have not ended.
    until(lambda: stage.shown().count(GREETING) >= 2, "it is in the transcript while the agent works")
    if stage.can.streams_commands:
        until(lambda: "it begins" in stage.shown(), "the output of the command is there while it runs")
    assert [part for part in stage.plane.parts() if part.state == "open"]
    assert [record for record in stage.plane.records if record.type == "doing"]
    stage.release(assignment)
    outcome = stage.end()

    assert isinstance(outcome, WorkOutcome), outcome
    assert outcome.files == ("größe/你好.txt",)
    assert outcome.summary == DONE.summary
    assert stage.plane.git("rev-parse", "attempts/1") == outcome.commit
    assert stage.plane.git("show", "attempts/1:größe/你好.txt") == GREETING
    assert "+ein Gruß" in stage.plane.parts("patch")[0].text
    # The transcript is whole: the briefing first, nothing open, no place twice.
    messages = [record for record in stage.plane.records if record.type == "message"]
    assert [message.role for message in messages[:2]] == ["system", "user"]
    assert stage.plane.parts("text")[1].text == assignment.briefing
    assert not [part for part in stage.plane.parts() if part.state == "open"]
    places = [(part.message, part.index) for part in stage.plane.parts()]
    assert len(places) == len(set(places)), "two parts have one place"
    # Its commands find no secret.
    assert "PATH=" in stage.shown()
    assert assignment.token not in "".join(record.model_dump_json() for record in stage.plane.records)


@driven()
def test_endless_and_binary_output_costs_little_and_who_is_cancelled_is_gone_within_five_seconds(stage: Stage) -> None:
    mark = marker()
    assignment = stage.begin(
        Run("head -c 300000 /dev/urandom; printf 'a\\0b'"),
        Run("yes 0123456789abcdef | head -c 50000000"),
        sleeping(mark),
    )
    stage.begun(mark)

    # Neither memory nor room.
    until(lambda: "0123456789abcdef" in stage.shown(), "the output is in the transcript")
    child = child_of(mark)
    before, peak = megabytes(parent_of(child), "VmRSS"), megabytes(child, "VmHWM")
    assert peak - before < GROWTH_MB
    told = sum(len(record.model_dump_json()) for record in stage.plane.records)
    assert told < TRANSCRIPT_BYTES

    # With all that it started.
    agent = stage.driver.agent(stage.folder(assignment), mark)
    assert alive(agent)
    began = time.monotonic()
    stage.plane.orders[assignment.execution] = Order(verdict="cancel")
    outcome = stage.end()
    assert time.monotonic() - began < CANCEL_SECONDS
    assert isinstance(outcome, FailureOutcome)
    assert outcome.reason == FailureReason.CANCELLED, outcome
    assert not processes_with(mark)
    assert not alive(agent)


@driven()
def test_a_command_that_never_ends_is_ended_by_the_time_limit(stage: Stage) -> None:
    mark = marker()
    stage.begin(sleeping(mark), time_limit=12 if stage.driver.runtime == "opencode" else 4)

    outcome = stage.end()

    assert isinstance(outcome, FailureOutcome)
    assert outcome.reason == FailureReason.TIMED_OUT, outcome
    assert not processes_with(mark)


@driven()
def test_people_are_heard_and_an_interrupt_stops_what_the_agent_does(stage: Stage) -> None:
    first, second = marker(), marker()
    assignment = stage.begin(holding(first), Write("a.txt", "a"), sleeping(second), DONE)
    message, stop = steer(text="Call it b.txt."), steer("interrupt", "Do not wait.")
    stage.begun(first)
    stage.say(assignment, message)
    time.sleep(1)  # heartbeats bring it, several times
    stage.release(assignment)
    stage.begun(second)
    assert ("Call it b.txt." in stage.driver.heard(stage.plane)) == (stage.can.hears == "at its next step")
    stage.say(assignment, message, stop)
    until(lambda: not processes_now_with(second), "the command is stopped", 20)
    outcome = stage.end()

    assert isinstance(outcome, WorkOutcome), outcome
    assert outcome.files == ("a.txt",)
    assert stage.taken(message)
    assert stage.taken(stop)
    told = stage.driver.heard(stage.plane)
    assert "Alice, of the people whom you work for, says: Call it b.txt." in told
    assert "Alice, of the people whom you work for, says: Do not wait." in told
    # The control plane has it in the transcript already; the runtime does not write it again.
    assert "b.txt" not in stage.shown()


@driven()
def test_named_answers_are_of_its_result_and_asked_for_again(stage: Stage) -> None:
    asked = (AnswerAsked(name="copy", kind="word", words=("yes", "later"), asks="Is it kept twice?"),)
    answers: tuple[dict[str, str], ...] = ({}, {"copy": "maybe"}, {"copy": "later"})
    stage.begin(Write("a.txt", "a"), *(Finish("Written.", given) for given in answers), answers=asked)

    outcome = stage.end()

    assert isinstance(outcome, WorkOutcome), outcome
    assert (outcome.files, outcome.answers) == (("a.txt",), {"copy": "later"})
    assert len(stage.plane.outcomes) == 1, "what is wrong is seen before it is reported"


@driven(by=lambda can: can.asks or can.seeks_permission)
def test_an_agent_asks_and_hears_the_answer_waits_for_a_permission_and_is_told_of_a_no(stage: Stage) -> None:
    answers = {"touch yes.txt": PermissionGiven(verdict="ask"), "touch no.txt": PermissionGiven(verdict="ask")}

    def judge(asked: PermissionAsked) -> PermissionGiven:
        return answers.get(str(asked.arguments.get("command")), PermissionGiven(verdict="allow"))

    stage.plane.judge = judge
    asks = [Ask("Which name?", ("a", "b"))] * stage.can.asks
    seeks = [Run("touch yes.txt"), Run("touch no.txt")] * stage.can.seeks_permission
    assignment = stage.begin(*asks, Write("a.txt", "a"), *seeks, DONE)
    if asks:
        until(lambda: stage.plane.parts("question"), "it asks", 90)
        (question,) = stage.plane.parts("question")
        assert (question.text, question.input, question.state) == ("Which name?", {"options": ["a", "b"]}, "open")
        stage.say(assignment, steer("answer", "Take the third.", question=question.id))
    if seeks:
        work = stage.folder(assignment) / "work"
        until(lambda: stage.asked("touch yes.txt"), "it asks if it may", 90)
        time.sleep(0.5)
        assert not (work / "yes.txt").exists(), "it did not wait"
        answers["touch yes.txt"] = PermissionGiven(verdict="allow")
        until(lambda: stage.asked("touch no.txt"), "it did the one, and asks for the other")
        assert (work / "yes.txt").exists()
        answers["touch no.txt"] = PermissionGiven(verdict="deny", why="Not that one.")

    outcome = stage.end()

    assert isinstance(outcome, WorkOutcome), outcome
    assert outcome.files == ("a.txt", *["yes.txt"] * len(seeks[:1]))
    heard = stage.driver.heard(stage.plane)
    assert ("Take the third." in heard) == stage.can.asks
    assert ("Not that one." in heard) == stage.can.seeks_permission


@driven()
def test_an_agent_whose_process_is_killed_goes_on_or_fails_as_declared(stage: Stage) -> None:
    mark = marker()
    assignment = stage.begin(Write("a.txt", "a"), sleeping(mark), Write("b.txt", "b"), DONE)
    stage.begun(mark)
    os.kill(stage.driver.agent(stage.folder(assignment), mark), signal.SIGKILL)
    outcome = stage.end()

    assert not processes_with(mark)
    if stage.can.crash == "goes on in the same session":
        assert isinstance(outcome, WorkOutcome), outcome
        assert outcome.files == ("a.txt", "b.txt")
    else:
        assert isinstance(outcome, FailureOutcome), outcome
        assert outcome.reason == FailureReason.AGENT_ERROR, outcome
        assert stage.plane.git("show", "attempts/1:a.txt") == "a"


@driven()
def test_an_agent_that_says_it_is_done_and_did_nothing_fails(stage: Stage) -> None:
    stage.begin(DONE, writes=("*.py",))

    outcome = stage.end()

    assert isinstance(outcome, FailureOutcome), outcome
    assert outcome.reason == FailureReason.NO_CHANGES, outcome
    assert "attempts/1" not in stage.plane.git("branch", "--list")


@driven()
def test_nothing_that_is_not_trusted_runs_without_a_sandbox(
    stage: Stage, variables: dict[str, dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables[stage.driver.runtime].items():
        monkeypatch.setenv(name, value)
    stage.driver.script(stage.plane, [Run("touch ran"), DONE])

    with pytest.raises(SandboxMissing):
        carry_out(stage.plane.assignment(runtime=stage.driver.runtime), tmp_path / "run", WorkOutcome, "none")

    assert not (tmp_path / "run" / "work" / "ran").exists()


def megabytes(pid: int, field: str) -> float:
    """A line of a process's status that tells of memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


def alive(pid: int) -> bool:
    """Neither gone nor a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
