"""The rehearsal model over real HTTP: with OpenAI's own client and with a pydantic-ai agent."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterable, Iterator
from typing import Any

import httpx
import openai
import pytest
from pydantic_ai import Agent, AgentStreamEvent, ModelRetry, PartDeltaEvent, RunContext
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import ThinkingPart
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.output import ToolOutput
from pydantic_ai.providers.openai import OpenAIProvider

from agents.contracts import PlanProposal
from swarms.graph import faults
from tests.rehearsal_stage import PLAN_BRIEFING, body, briefing


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def start(port: int) -> subprocess.Popen[bytes]:
    command = [
        "-m",
        "uvicorn",
        "agents.rehearsal.app:application",
        "--port",
        str(port),
        "--log-level",
        "warning",
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO")}
    process = subprocess.Popen([sys.executable, *command], env=environment)
    while process.poll() is None:
        try:
            httpx.get(f"http://127.0.0.1:{port}/healthz").raise_for_status()
            return process
        except httpx.ConnectError:
            time.sleep(0.05)
    raise AssertionError(f"the rehearsal ended with {process.returncode} instead of serving")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    port = free_port()
    process = start(port)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(10)


@pytest.fixture
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI, messages: list[dict[str, Any]], **more: Any) -> Any:
    return client.chat.completions.create(**body(messages, **more))


def told(text: str) -> list[dict[str, Any]]:
    return [{"role": "system", "content": "You are a developer."}, {"role": "user", "content": text}]


def test_it_says_what_it_is(client: openai.OpenAI, address: str) -> None:
    (model,) = client.models.list().data
    assert (model.id, model.owned_by) == ("rehearsal", "waggle-rehearsal")
    assert httpx.get(f"{address}/healthz").json()["status"] == "ok"
    answer = ask(client, told(briefing("words")))
    assert answer.model == "rehearsal"


def test_a_stream_and_a_whole_answer_are_the_same(client: openai.OpenAI) -> None:
    messages = [*told(briefing("words")), {"role": "assistant", "content": "x"}]
    whole = ask(client, messages).choices[0]
    calls: dict[int, dict[str, Any]] = {}
    text, finish, pieces = "", None, 0
    for chunk in ask(client, messages, stream=True):
        assert chunk.model == "rehearsal"
        assert chunk.usage is None
        choice = chunk.choices[0]
        text += choice.delta.content or ""
        finish = choice.finish_reason or finish
        for call in choice.delta.tool_calls or []:
            pieces += 1
            known = calls.setdefault(call.index, {"id": call.id, "name": call.function.name, "arguments": ""})
            known["arguments"] += call.function.arguments
    assert text == whole.message.content
    assert finish == whole.finish_reason == "tool_calls"
    expected = [
        {"id": call.id, "name": call.function.name, "arguments": call.function.arguments}
        for call in whole.message.tool_calls
    ]
    assert [calls[index] for index in sorted(calls)] == expected
    assert [call["name"] for call in expected] == ["write_file", "write_file", "edit_file"]
    assert len({call["id"] for call in expected}) == 3
    assert pieces > 10, "arguments should come in pieces"
    assert json.loads(expected[0]["arguments"])["path"] == "textkit/words.py"


def test_reasoning_comes_before_the_text(client: openai.OpenAI) -> None:
    kinds = []
    for chunk in ask(client, told(briefing("words")), stream=True):
        delta = chunk.choices[0].delta
        if getattr(delta, "reasoning_content", None):
            kinds.append("reasoning")
        elif delta.content:
            kinds.append("text")
    assert kinds == sorted(kinds)
    assert set(kinds) == {"reasoning", "text"}


def test_usage_follows_the_real_length_of_the_texts(client: openai.OpenAI) -> None:
    short, long = told(briefing("words")), told(briefing("words") + "x" * 4000)
    usage = [ask(client, messages).usage for messages in (short, long)]
    assert usage[1].prompt_tokens - usage[0].prompt_tokens == 1000
    assert usage[0].completion_tokens == usage[1].completion_tokens > 10
    *_, last = ask(client, short, stream=True, stream_options={"include_usage": True})
    assert last.choices == []
    assert last.usage == usage[0]
    assert last.usage.total_tokens == usage[0].prompt_tokens + usage[0].completion_tokens


def test_a_briefing_in_parts_is_read_too(client: openai.OpenAI) -> None:
    parts = [{"type": "text", "text": line} for line in briefing("syllables").splitlines()]
    answer = ask(client, [{"role": "user", "content": parts}])
    assert answer.choices[0].message.tool_calls[0].id.startswith("call_syllables_0")


def test_what_it_does_not_know_is_refused_with_the_remedy(client: openai.OpenAI) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match="WAGGLE_MODEL_BASE_URL") as refused:
            ask(client, told("# Plan a goal\n\n## Goal\nA web shop\n"), stream=stream)
        assert refused.value.code == refused.value.type == "rehearsal_has_no_scene"


def test_without_tools_it_answers_in_plain_words(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="any", messages=[{"role": "user", "content": "Hello?"}])
    assert (answer.choices[0].message.content or "").startswith("This is a rehearsal")
    assert answer.choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"{", "body: Invalid JSON"), (b"{}", "messages: Field required"), (b'{"messages": []}', "messages: ")],
)
def test_a_broken_request_names_its_field(address: str, content: bytes, says: str) -> None:
    answer = httpx.post(f"{address}/v1/chat/completions", content=content)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(says)


def test_another_path_is_refused_with_those_that_exist(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="only serves POST /v1/chat/completions"):
        client.embeddings.create(model="rehearsal", input="x")


def test_a_restart_in_the_middle_of_a_conversation_changes_nothing() -> None:
    port = free_port()
    messages, steps = told(briefing("report")), []
    for _ in range(3):
        process = start(port)
        try:
            with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="any", max_retries=0) as client:
                message = ask(client, messages).choices[0].message
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(10)
        steps.append([call.function.name for call in message.tool_calls])
        messages.append(message.model_dump(exclude_none=True))
    assert steps == [
        ["read_file", "read_file", "search"],
        ["write_file", "write_file", "edit_file"],
        ["edit_file"],
    ]


def planner(address: str) -> Agent[None, PlanProposal]:
    model = OpenAIChatModel("rehearsal", provider=OpenAIProvider(base_url=f"{address}/v1", api_key="any"))
    agent = Agent(model, output_type=ToolOutput(PlanProposal, max_retries=3), system_prompt="You are the coordinator.")

    @agent.tool_plain
    def list_files(path: str = ".", glob: str = "**/*") -> list[str]:
        return [f"{path}/README.md"]

    @agent.tool_plain
    def read_file(path: str, start: int = 1, lines: int = 400) -> str:
        return f"the text of {path}"

    return agent


def test_a_pydantic_ai_coordinator_gets_a_right_plan_in_the_second_round(address: str) -> None:
    agent, rounds, deltas = planner(address), [], 0

    @agent.output_validator
    def validate(plan: PlanProposal) -> PlanProposal:
        rounds.append(faults(plan, max_nodes=12))
        if rounds[-1]:
            raise ModelRetry("\n".join(rounds[-1]))
        return plan

    async def watch(_: RunContext[None], events: AsyncIterable[AgentStreamEvent]) -> None:
        nonlocal deltas
        async for event in events:
            deltas += isinstance(event, PartDeltaEvent)

    result = asyncio.run(agent.run(PLAN_BRIEFING, event_stream_handler=watch))
    assert [len(found) for found in rounds] == [1, 0]
    assert [node.key for node in result.output.nodes] == [
        "words", "sentences", "syllables", "report", "guide", "review"
    ]  # fmt: skip
    assert deltas > 50, "the answers should have streamed"
    assert result.usage.requests == 3
    assert result.usage.output_tokens > 500
    thinking = [part for message in result.all_messages() for part in message.parts if isinstance(part, ThinkingPart)]
    assert thinking[0].content.startswith("Before I cut the goal into pieces")


def test_a_pydantic_ai_agent_fails_at_once_for_an_unknown_goal(address: str) -> None:
    with pytest.raises(ModelHTTPError, match="WAGGLE_MODEL_BASE_URL") as failed:
        asyncio.run(planner(address).run("# Plan a goal\n\n## Goal\nA web shop\n"))
    assert failed.value.status_code == 400
