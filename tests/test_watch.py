"""What an agent, and who looks on, is told while it works: its money runs out, its swarm is paused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.contracts import WorkOutcome
from agents.contracts.link import Order
from agents.runtimes.context import Told
from agents.runtimes.watch import LOW, PAUSED, RESUMED, Watch
from tests.fake_control_plane import FakeControlPlane, call, serving, until
from tests.test_runner import running


def said(watch: Watch, told: Told, *lefts: int | None) -> list[str]:
    """What the agent is told before model calls, at each of which so much is left."""
    found = []
    for left in lefts:
        told.budget_left = left
        found.append(watch.before_call()[0])
    return found


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def watch(told: Told) -> Watch:
    return Watch(told)


def test_an_agent_is_told_once_that_its_money_lasts_for_a_few_calls_only(watch: Watch, told: Told) -> None:
    assert said(watch, told, 1000, 900, 800, 700, 600) == [""] * 5
    assert said(watch, told, 500) == [LOW.format(calls=5)]
    assert said(watch, told, 400, 300, 0) == [""] * 3


def test_without_a_limit_or_before_its_pace_is_known_nothing_is_told(watch: Watch, told: Told) -> None:
    assert said(watch, told, None, None, 10, 10, 10) == [""] * 5
    assert said(watch, told, None, 5) == ["", ""]


def test_more_money_begins_a_new_account_and_it_may_be_told_again(watch: Watch, told: Told) -> None:
    assert said(watch, told, 1000, 500) == ["", LOW.format(calls=1)]
    assert said(watch, told, 9000, 8900) == ["", ""]
    assert said(watch, told, 400) == [LOW.format(calls=1)]
    assert said(watch, told, -3) == [""]


def test_who_looks_on_is_told_of_a_pause_and_of_its_end(watch: Watch, told: Told) -> None:
    heard = []
    for paused in (False, True, True, False):
        told.pause = paused
        heard.append(watch.before_call()[1])
    assert heard == ["", PAUSED, "", RESUMED]


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[FakeControlPlane]:
    with serving(tmp_path / "plane") as plane, running(plane, tmp_path / "runner"):
        yield plane


def test_what_a_heartbeat_answers_reaches_the_agent_through_its_runner(plane: FakeControlPlane) -> None:
    assignment = plane.assignment()
    lefts = iter((1000, 600, 200, 100))

    def script(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        done = sum(message["role"] == "assistant" for message in messages)
        plane.orders[assignment.execution] = Order(verdict="continue", budget_left=next(lefts), pause=done == 2)
        if done == 3:
            return [call("final_result", summary="Done.")]
        # In the pause heartbeats are answered, and the runner passes the answer on.
        return [{"pause": 1.5}, call("write_file", path="a.txt", content=f"{done}")]

    plane.script = script
    plane.assign(assignment)
    until(lambda: plane.ended, "the execution ends")
    assert isinstance(plane.outcomes[0], WorkOutcome)
    asked = [
        [message["content"] for message in request["messages"] if message["role"] == "user"]
        for request in plane.requests
    ]
    low = LOW.format(calls=1)
    assert [low in each for each in asked] == [False, False, True, True]
    assert asked[-1].count(low) == 1
    assert [part.text for part in plane.parts("text") if part.text == low] == [low]
    assert PAUSED in [part.text for part in plane.parts("step")]
