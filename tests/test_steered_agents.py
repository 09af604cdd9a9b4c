"""What people say reaches an agent at work: between its steps, amid one, and as the answer to its question."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from agents.contracts import Assignment, Outcome, WorkOutcome
from agents.contracts.link import Order, Steer
from agents.runner.reports import Reports
from agents.runner.sandbox import detect
from agents.runtimes import asking, runtime_of
from agents.runtimes.context import Context, Told
from agents.runtimes.inbox import Inbox
from tests.fake_control_plane import FakeControlPlane, call, serving, steps, until
from tests.test_runner import DONE, processes_now_with, running

Feeder = Callable[[Inbox], Coroutine[None, None, None]]
WRITES = [call("write_file", path="a.txt", content="a")]


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[FakeControlPlane]:
    with serving(tmp_path / "plane") as plane:
        yield plane


def steer(kind: str = "message", text: str = "", question: UUID | None = None, by: str = "Alice") -> Steer:
    return Steer.model_validate({"id": uuid4(), "kind": kind, "text": text, "by": by, "question": question})


async def nobody(inbox: Inbox) -> None:
    """Says nothing."""


def carry_out(assignment: Assignment, folder: Path, feeder: Feeder = nobody) -> tuple[Outcome, list[UUID]]:
    """Runs an assignment in this process while somebody talks to its agent. The outcome, and what the agent took."""
    taken: list[UUID] = []

    async def work() -> Outcome:
        reports = Reports(assignment)
        sending = asyncio.create_task(reports.run())
        inbox = Inbox(taken.append)
        talking: asyncio.Task[None] = asyncio.create_task(feeder(inbox))
        context = Context(folder, detect(), reports, Told(inbox=inbox))
        try:
            outcome = await runtime_of(assignment).run(assignment, context)
            if not reports.accepted:
                await reports.outcome(outcome)
            return outcome
        finally:
            talking.cancel()
            sending.cancel()
            await reports.close()

    return asyncio.run(work()), taken


async def seen(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.02)


def heard(plane: FakeControlPlane) -> list[str]:
    """What the model was told by people in the last request."""
    return [str(message["content"]) for message in plane.requests[-1]["messages"] if message["role"] == "user"][1:]


def test_a_message_is_heard_before_the_next_step_and_once(plane: FakeControlPlane, tmp_path: Path) -> None:
    plane.script = steps([{"pause": 0.4}, *WRITES], WRITES, DONE)
    said = steer(text="Call it b.txt.")

    async def talk(inbox: Inbox) -> None:
        await seen(lambda: plane.requests)
        for _ in range(3):
            inbox.put(said)

    outcome, taken = carry_out(plane.assignment(), tmp_path / "run", talk)
    assert isinstance(outcome, WorkOutcome)
    assert taken == [said.id]
    assert heard(plane) == ["Alice, of the people whom you work for, says: Call it b.txt."]
    told = [["b.txt" in str(message["content"]) for message in request["messages"]] for request in plane.requests]
    assert [any(each) for each in told] == [False, True, True]
    # The control plane has it in the transcript already; the runtime does not write it again.
    assert not [part for part in plane.parts("text") if "b.txt" in part.text]


def test_an_interrupt_stops_the_running_command_and_the_agent_hears_why(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    marker = uuid4().hex
    plane.script = steps([call("run_command", command=f"sh -c 'sleep 60 # {marker}'; true")], WRITES, DONE)
    stop = steer("interrupt", "Do not wait; write the file.")

    async def talk(inbox: Inbox) -> None:
        await seen(lambda: processes_now_with(marker))
        inbox.put(stop)
        await seen(lambda: not processes_now_with(marker))

    outcome, taken = carry_out(plane.assignment(), tmp_path / "run", talk)
    assert isinstance(outcome, WorkOutcome)
    assert taken == [stop.id]
    assert not processes_now_with(marker)
    tool = plane.parts("tool")[0]
    assert (tool.tool, tool.state, tool.output) == ("run_command", "failed", "Interrupted by Alice.")
    assert tool.ended_at is not None
    assert "Do not wait" in heard(plane)[-1]
    # Each call of a tool has its result, or the next request would be refused by every provider.
    for request in plane.requests:
        calls = [one["id"] for message in request["messages"] for one in message.get("tool_calls") or ()]
        assert calls == [message["tool_call_id"] for message in request["messages"] if message["role"] == "tool"]


def test_an_interrupt_stops_the_call_of_the_model(plane: FakeControlPlane, tmp_path: Path) -> None:
    answers = iter([[{"content": "I ponder "}, {"pause": 30}], WRITES, DONE])
    plane.script = lambda messages: next(answers)
    stop = steer("interrupt", "Enough.")

    async def talk(inbox: Inbox) -> None:
        await seen(lambda: [part for part in plane.parts("text") if part.text.startswith("I ponder")])
        inbox.put(stop)

    outcome, taken = carry_out(plane.assignment(), tmp_path / "run", talk)
    assert isinstance(outcome, WorkOutcome)
    assert taken == [stop.id]
    (pondering,) = [part for part in plane.parts("text") if part.text.startswith("I ponder")]
    assert pondering.state != "open"
    assert "Enough." in heard(plane)[-1]


def test_who_is_interrupted_without_a_word_waits_for_one(plane: FakeControlPlane, tmp_path: Path) -> None:
    answers = iter([[{"content": "I ponder "}, {"pause": 30}], WRITES, DONE])
    plane.script = lambda messages: next(answers)

    async def talk(inbox: Inbox) -> None:
        await seen(lambda: [part for part in plane.parts("text") if part.text.startswith("I ponder")])
        inbox.put(steer("interrupt"))
        await seen(lambda: [r for r in plane.records if r.type == "doing" and "waits for a word" in r.text])
        assert len(plane.requests) == 1
        inbox.put(steer(text="Go on with the file.", by="Bob"))

    outcome, taken = carry_out(plane.assignment(), tmp_path / "run", talk)
    assert isinstance(outcome, WorkOutcome)
    assert len(taken) == 2
    assert heard(plane)[-1] == "Bob, of the people whom you work for, says: Go on with the file."


def test_who_waits_for_a_word_in_vain_goes_on(
    plane: FakeControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "WORD_SECONDS", 0.1)
    answers = iter([[{"content": "I ponder "}, {"pause": 30}], WRITES, DONE])
    plane.script = lambda messages: next(answers)

    async def talk(inbox: Inbox) -> None:
        await seen(lambda: plane.requests)
        inbox.put(steer("interrupt"))

    outcome, _ = carry_out(plane.assignment(), tmp_path / "run", talk)
    assert isinstance(outcome, WorkOutcome)
    assert heard(plane)[-1] == asking.GO_ON.format(by="Alice")


def test_an_interrupt_before_the_first_step_leaves_the_briefing(plane: FakeControlPlane, tmp_path: Path) -> None:
    plane.script = steps(WRITES, DONE)

    async def talk(inbox: Inbox) -> None:
        inbox.put(steer("interrupt", "Be quick."))

    outcome, _ = carry_out(plane.assignment(), tmp_path / "run", talk)
    assert isinstance(outcome, WorkOutcome)
    users = [str(message["content"]) for message in plane.requests[-1]["messages"] if message["role"] == "user"]
    assert "# Node `greet`" in "".join(users)
    assert "Be quick." in "".join(users)


def test_what_is_said_while_the_agent_finishes_is_not_lost(plane: FakeControlPlane, tmp_path: Path) -> None:
    plane.script = steps(WRITES, [{"pause": 0.5}, *DONE], [call("write_file", path="b.txt", content="b")], DONE)
    said = steer(text="And b.txt, please.")

    async def talk(inbox: Inbox) -> None:
        await seen(lambda: len(plane.requests) == 2)
        inbox.put(said)

    outcome, taken = carry_out(plane.assignment(), tmp_path / "run", talk)
    assert isinstance(outcome, WorkOutcome)
    assert taken == [said.id]
    assert outcome.files == ("a.txt", "b.txt")


def test_a_question_waits_for_its_answer(plane: FakeControlPlane, tmp_path: Path) -> None:
    plane.script = steps([call("ask_person", question="Which name?", options=["a", "b"])], WRITES, DONE)

    async def talk(inbox: Inbox) -> None:
        await seen(lambda: plane.parts("question"))
        (asked,) = plane.parts("question")
        inbox.put(steer("answer", "wrong question", question=uuid4()))
        inbox.put(steer("answer", "the second", question=asked.id))

    outcome, taken = carry_out(plane.assignment(), tmp_path / "run", talk)
    assert isinstance(outcome, WorkOutcome)
    assert len(taken) == 1
    (asked,) = plane.parts("question")
    # That it is answered is for the control plane to say, which has it from the person.
    assert (asked.text, asked.input, asked.state) == ("Which name?", {"options": ["a", "b"]}, "open")
    results = [message["content"] for message in plane.requests[1]["messages"] if message["role"] == "tool"]
    assert results == ["Alice answers: the second"]


def test_a_question_that_nobody_answers_is_given_up(
    plane: FakeControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "ASK_SECONDS", 0.3)
    monkeypatch.setattr(asking, "ALIVE_SECONDS", 0.05)
    plane.script = steps([call("ask_person", question="Which name?")], WRITES, DONE)

    async def talk(inbox: Inbox) -> None:
        await asyncio.sleep(60)

    outcome, _ = carry_out(plane.assignment(), tmp_path / "run", talk)
    assert isinstance(outcome, WorkOutcome)
    (asked,) = plane.parts("question")
    assert (asked.state, asked.output) == ("failed", asking.NO_ANSWER)
    # Who waits for a person makes progress: it is no stall.
    assert len([r for r in plane.records if r.type == "doing" and r.text.startswith("waits for an answer")]) > 1


def test_a_question_can_be_interrupted(plane: FakeControlPlane, tmp_path: Path) -> None:
    plane.script = steps([call("ask_person", question="Which name?")], WRITES, DONE)

    async def talk(inbox: Inbox) -> None:
        await seen(lambda: plane.parts("question"))
        inbox.put(steer("interrupt", "Any."))

    outcome, _ = carry_out(plane.assignment(), tmp_path / "run", talk)
    assert isinstance(outcome, WorkOutcome)
    assert plane.parts("question")[0].state == "failed"


def test_words_reach_the_agent_through_its_runner_and_are_confirmed(plane: FakeControlPlane, tmp_path: Path) -> None:
    said = steer(text="Call it b.txt.")
    assignment = plane.assignment()
    plane.script = steps([{"pause": 1}, *WRITES], [{"pause": 1}, *WRITES], DONE)
    with running(plane, tmp_path / "runner"):
        plane.orders[assignment.execution] = Order(verdict="continue", steer=(said,))
        plane.assign(assignment)
        until(lambda: [beat for beat in plane.beats if said.id in beat.taken], "the runner says that it is taken")
        plane.orders.clear()
        until(lambda: plane.ended, "the execution ends")
    assert isinstance(plane.outcomes[0], WorkOutcome)
    assert heard(plane) == ["Alice, of the people whom you work for, says: Call it b.txt."]
    # Once the control plane knows, the runner no longer repeats it.
    assert not plane.beats[-1].taken


def test_a_runner_that_is_hurried_asks_at_once(plane: FakeControlPlane, tmp_path: Path) -> None:
    plane.script = steps([{"pause": 1}, *WRITES], DONE)
    with running(plane, tmp_path / "runner"):
        plane.assign(plane.assignment(heartbeat_seconds=60))
        until(lambda: plane.beats, "the first heartbeat")
        before = len(plane.beats)
        plane.hurry()
        until(lambda: len(plane.beats) > before, "a heartbeat out of turn", seconds=10)
        until(lambda: plane.ended, "the execution ends")


def test_an_inbox_gives_each_word_once() -> None:
    async def use() -> list[Any]:
        inbox = Inbox()
        one, two = steer(text="one"), steer("interrupt", "two")
        for each in (one, two, one):
            inbox.put(each)
        await asyncio.wait_for(inbox.interrupted(), 1)
        first = inbox.take()
        inbox.put(one)
        waits = asyncio.create_task(inbox.waiting())
        await asyncio.sleep(0.01)
        had = waits.done(), inbox.has(["interrupt"])
        inbox.put(three)
        await asyncio.wait_for(waits, 1)
        third = inbox.has(["interrupt"]), inbox.take() == [three]
        return [first == [one, two], *had, *third, inbox.take(), await inbox.news(0.01)]

    three = steer("interrupt", "three")
    assert asyncio.run(use()) == [True, False, False, True, True, [], []]
