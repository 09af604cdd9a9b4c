"""Long work of a built-in agent: its list of steps, edits that miss, and a talk that outgrows its model's window."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agents import prices
from agents.contracts import FailureOutcome, FailureReason, ModelAccess, WorkOutcome
from agents.runtimes.compaction import SUM_UP
from agents.runtimes.editing import fault_of
from agents.runtimes.inbox import Inbox
from tests.fake_control_plane import FakeControlPlane, call, serving
from tests.test_steered_agents import carry_out, seen, steer

DONE = [call("final_result", summary="Counted.")]
WRITE = [call("write_file", path="a.txt", content="a")]
STEPS = [{"text": "count", "state": "done"}, {"text": "write a.txt", "state": "in_progress"}, {"text": "finish"}]
COUNT = [call("run_command", command="seq 1 1600")]
"""About 7,000 characters."""
LIST = [call("list_files")]
SUMMARY = "I counted twice; a.txt is to be written."


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[FakeControlPlane]:
    with serving(tmp_path / "plane") as plane:
        yield plane


def small(plane: FakeControlPlane, window: int) -> ModelAccess:
    return ModelAccess(base_url=f"{plane.url}/model/v1", name="scripted", window=window)


def playing(plane: FakeControlPlane, *answers: list[dict[str, Any]]) -> None:
    """One answer after the other; who is asked for a summary gives it."""
    rest = iter(answers)

    def play(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{"content": SUMMARY}] if is_summary(messages) else next(rest)

    plane.script = play


def is_summary(messages: list[dict[str, Any]]) -> bool:
    return SUM_UP.strip() in str(messages[0]["content"])


def work_of(plane: FakeControlPlane) -> list[list[dict[str, Any]]]:
    """The messages of each request that was not for a summary."""
    return [asked["messages"] for asked in plane.requests if not is_summary(asked["messages"])]


def saying(text: str, when: Callable[[], object]) -> Callable[[Inbox], Any]:
    async def talk(inbox: Inbox) -> None:
        await seen(when)
        inbox.put(steer(text=text))

    return talk


def test_a_talk_that_fills_the_window_is_summed_up_and_goes_on(plane: FakeControlPlane, tmp_path: Path) -> None:
    plan = [call("update_plan", steps=STEPS)]
    playing(plane, [{"pause": 0.5}, *plan], COUNT, COUNT, WRITE, DONE)

    outcome, _ = carry_out(
        plane.assignment(model=small(plane, 4000)),
        tmp_path / "run",
        saying("Call it a.txt.", lambda: plane.requests),
    )

    assert isinstance(outcome, WorkOutcome), outcome
    assert outcome.files == ("a.txt",)
    (asked,) = [each["messages"] for each in plane.requests if is_summary(each["messages"])]
    assert "seq 1 1600" in str(asked)
    # What the agent knows after that: the briefing, the summary, its list, what people said, the last step.
    after = work_of(plane)[3]
    head = next(str(message["content"]) for message in after if message["role"] == "user")
    for known in ("# Node `greet`: Greet politely", SUMMARY, "- [x] count", "- […] write a.txt", "Call it a.txt."):
        assert known in head
    assert [message["role"] for message in after if message["role"] != "system"] == ["user", "assistant", "tool"]
    assert "characters left out" in str(after[-1]["content"]), "a result that is too long by itself is cut down"
    for messages in work_of(plane):
        calls = [one["id"] for message in messages for one in message.get("tool_calls") or ()]
        assert calls == [message["tool_call_id"] for message in messages if message["role"] == "tool"]
    # People see it, and what it cost.
    notes = [part.text for part in plane.parts("step") if part.text]
    assert [note for note in notes if "window is nearly full" in note]
    assert SUMMARY in [part.text for part in plane.parts("text")]
    assert len([part for part in plane.parts("step") if part.usage]) == len(plane.requests)


def test_a_talk_that_is_summed_up_again_keeps_the_earlier_summary(plane: FakeControlPlane, tmp_path: Path) -> None:
    playing(plane, COUNT, COUNT, COUNT, COUNT, WRITE, DONE)

    outcome, _ = carry_out(plane.assignment(model=small(plane, 4000)), tmp_path / "run")

    assert isinstance(outcome, WorkOutcome), outcome
    asked = [each["messages"] for each in plane.requests if is_summary(each["messages"])]
    assert len(asked) >= 2
    assert SUMMARY in str(asked[1])
    assert all(str(messages).count("# Node `greet`") == 1 for messages in work_of(plane))


def test_a_provider_that_finds_the_talk_too_long_is_asked_again_with_less(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    too_long = [{"status": 400, "code": "context_length_exceeded"}]
    playing(plane, COUNT, COUNT, too_long, WRITE, DONE)

    outcome, _ = carry_out(plane.assignment(), tmp_path / "run")

    assert isinstance(outcome, WorkOutcome), outcome
    assert len([each for each in plane.requests if is_summary(each["messages"])]) == 1


def test_a_provider_whose_window_becomes_smaller_is_asked_with_less_each_time(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    too_long = [{"status": 400, "code": "context_length_exceeded"}]
    playing(plane, COUNT, COUNT, too_long, WRITE, LIST, too_long, DONE)

    outcome, _ = carry_out(plane.assignment(), tmp_path / "run")

    assert isinstance(outcome, WorkOutcome), outcome
    assert len([each for each in plane.requests if is_summary(each["messages"])]) == 2


@pytest.mark.parametrize("knows", [True, False], ids=["it is known", "the provider says so"])
def test_one_result_that_nearly_fills_the_window_is_cut_down(
    knows: bool, plane: FakeControlPlane, tmp_path: Path
) -> None:
    too_long = [] if knows else [[{"status": 400, "code": "context_length_exceeded"}]]
    playing(plane, COUNT, *too_long, WRITE, DONE)

    outcome, _ = carry_out(plane.assignment(model=small(plane, 2_000 if knows else 64_000)), tmp_path / "run")

    assert isinstance(outcome, WorkOutcome), outcome
    assert not any(is_summary(each["messages"]) for each in plane.requests)
    asked = work_of(plane)[2 - knows]
    (result,) = [str(message["content"]) for message in asked if message["role"] == "tool"]
    assert "characters left out" in result
    assert len(result) < 2_000
    assert "nearly full" in plane.parts("step")[1].text


def test_a_talk_that_fits_is_left_alone(plane: FakeControlPlane, tmp_path: Path) -> None:
    playing(plane, COUNT, COUNT, WRITE, DONE)

    carry_out(plane.assignment(), tmp_path / "run")

    assert not [each for each in plane.requests if is_summary(each["messages"])]


def test_who_has_not_finished_after_all_calls_of_its_model_has_failed(plane: FakeControlPlane, tmp_path: Path) -> None:
    playing(plane, LIST, LIST, LIST)
    outcome, _ = carry_out(plane.assignment(model_calls=2), tmp_path / "run")
    assert isinstance(outcome, FailureOutcome), outcome
    assert (outcome.reason, outcome.message) == (
        FailureReason.AGENT_ERROR, "The agent used all of its 2 model calls without finishing.",
    )  # fmt: skip
    assert len(plane.requests) == 2


def test_people_see_the_list_of_steps(plane: FakeControlPlane, tmp_path: Path) -> None:
    playing(plane, [call("update_plan", steps=STEPS)], WRITE, DONE)

    carry_out(plane.assignment(), tmp_path / "run")

    (part,) = [part for part in plane.parts("tool") if part.tool == "update_plan"]
    assert part.input == {"steps": STEPS}
    doing = [record.text for record in plane.records if record.type == "doing"]
    assert "1 of 3 done: write a.txt" in doing


def test_an_edit_that_misses_tells_the_agent_what_is_near(plane: FakeControlPlane, tmp_path: Path) -> None:
    miss = call("edit_file", path="greet.py", old="\treturn 'hello ' + name", new="\treturn 'Good day'")
    hit = call("edit_file", path="greet.py", old="    return 'hello ' + name", new="    return 'Good day'")
    playing(plane, [miss], [hit], DONE)

    outcome, _ = carry_out(plane.assignment(), tmp_path / "run")

    assert isinstance(outcome, WorkOutcome), outcome
    assert "differs in white space only" in str(plane.requests[1]["messages"])
    told = plane.parts("tool")[0]
    assert (told.tool, told.state) == ("edit_file", "failed")
    assert "    2\t    return 'hello ' + name" in told.output


TEXT = "def one():\n    return 1\n\n\ndef two():\n    value = compute(1)\n    return value\n"


@pytest.mark.parametrize(
    ("old", "said"),
    [
        ("def one():", ""),
        ("", "use write_file"),
        ("def ", "occurs 2 times, at lines 1, 5;"),
        (
            "\tvalue = compute(1)\n\treturn value",
            "white space only from these lines:\n    6\t    value = compute(1)\n    7",
        ),
        ("    6\t    value = compute(1)", "has line numbers"),
        ("    value = compute(2)\n    return value", "What comes nearest:\n    6\t    value = compute(1)\n    7\t"),
        ("    value = compute(12)", "What comes nearest:\n    6\t    value = compute(1)"),
        ("something else altogether", "Nothing in the file is like it"),
        ("bb", "occurs 2 times, at lines 9, 9;"),
        ("x = 1\ny = 2", "Lines of this file end with \\r\\n"),
        ("x = 1\r\ny = 2", ""),
        ("0", "occurs more than 10 times, at lines 13, 13"),
        ("after()", "What comes nearest:\n   12\tafterwards()"),
    ],
)
def test_a_piece_that_cannot_be_replaced_is_told_of_exactly(old: str, said: str) -> None:
    odd = "\nbbb\nx = 1\r\ny = 2\r\nafterwards()\n" + "0" * 20
    fault = fault_of(TEXT + odd, old)
    assert said in fault
    assert bool(fault) == bool(said)


def test_what_the_operator_says_of_the_window_holds_for_that_model(settings: Any) -> None:
    settings.MODEL_BASE_URL, settings.MODEL_NAME = "https://api.openai.com/v1", "gpt-4o"
    here = settings.MODEL_BASE_URL
    assert prices.window_of("gpt-4o", base_url=here) == 128_000
    settings.MODEL_WINDOW = 9000
    assert prices.window_of("gpt-4o", base_url=here) == 9000
    assert prices.window_of("gpt-4o-mini", base_url=here) == 128_000, "what is said of one model holds for no other"
    assert prices.window_of("gpt-4o", base_url="https://models.example/v1") is None, "nor for another provider's"


def test_the_window_of_a_model_is_known_from_the_public_list() -> None:
    assert prices.window("gpt-4o", base_url="https://api.openai.com/v1") == 128_000
    assert prices.window("nobody-knows-it", base_url="https://api.openai.com/v1") is None
    assert prices.window("gpt-4o", base_url="http://127.0.0.1:9/v1") is None
