"""A turn in the words of OpenAI's chat completions: whole, or as the chunks of a stream."""

import itertools
import json
import re
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from agents.rehearsal.scenes import Step
from agents.rehearsal.talk import Request, Turn

MODEL = "rehearsal"

_WORDS = re.compile(r"\S+\s*|\s+")
_WORDS_A_CHUNK = 3
_ARGUMENTS_A_CHUNK = 80
"""Characters of a tool call's arguments."""


def arguments(turn: Turn) -> list[str]:
    """The arguments of each tool call, as JSON."""
    return [json.dumps(call.args, ensure_ascii=False) for call in turn.step.call]


def usage(request: Request, turn: Turn) -> dict[str, int]:
    """Tokens, estimated from the real texts at four characters each."""
    asked = sum(len(json.dumps(message.model_dump(exclude_none=True))) for message in request.messages)
    asked += sum(len(json.dumps(tool.model_dump())) for tool in request.tools)
    names = (call.tool for call in turn.step.call)
    answered = sum(map(len, (turn.step.think, turn.step.say, *names, *arguments(turn))))
    prompt, completion = -(-asked // 4), -(-answered // 4)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def whole(request: Request, turn: Turn) -> dict[str, Any]:
    """The answer to a request that does not stream."""
    message: dict[str, Any] = {"role": "assistant", "content": turn.step.say or None}
    if turn.step.think:
        message["reasoning_content"] = turn.step.think
    if turn.step.call:
        message["tool_calls"] = [
            {"id": call_id, "type": "function", "function": {"name": name, "arguments": text}}
            for call_id, name, text in _calls(turn)
        ]
    choice = {"index": 0, "message": message, "finish_reason": _finish(turn.step), "logprobs": None}
    return {**_head("chat.completion"), "choices": [choice], "usage": usage(request, turn)}


def chunks(request: Request, turn: Turn) -> Iterator[tuple[float, dict[str, Any]]]:
    """The answer as stream chunks, each with the seconds to wait before it."""
    head = _head("chat.completion.chunk")
    counted = bool(request.stream_options and request.stream_options.include_usage)
    if counted:
        head["usage"] = None
    yield turn.step.pause, head | _choice({"role": "assistant", "content": ""})
    for delta in _deltas(turn):
        yield turn.step.chunk_delay, head | _choice(delta)
    yield 0, head | _choice({}, _finish(turn.step))
    if counted:
        yield 0, head | {"choices": [], "usage": usage(request, turn)}


def seconds(turn: Turn) -> float:
    """How long the pauses of an answer take together."""
    return turn.step.pause + turn.step.chunk_delay * sum(1 for _ in _deltas(turn))


def _deltas(turn: Turn) -> Iterator[dict[str, Any]]:
    for piece in _pieces(turn.step.think):
        yield {"reasoning_content": piece}
    for piece in _pieces(turn.step.say):
        yield {"content": piece}
    for index, (call_id, name, text) in enumerate(_calls(turn)):
        begin = {
            "index": index,
            "id": call_id,
            "type": "function",
            "function": {"name": name, "arguments": ""},
        }
        yield {"tool_calls": [begin]}
        for start in range(0, len(text), _ARGUMENTS_A_CHUNK):
            piece = text[start : start + _ARGUMENTS_A_CHUNK]
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def _pieces(text: str) -> Iterator[str]:
    words = iter(_WORDS.findall(text))
    while piece := "".join(itertools.islice(words, _WORDS_A_CHUNK)):
        yield piece


def _calls(turn: Turn) -> Iterator[tuple[str, str, str]]:
    for index, (call, text) in enumerate(zip(turn.step.call, arguments(turn), strict=True)):
        yield f"call_{turn.scene}_{turn.played}_{index}", call.tool, text


def _head(kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid4().hex}", "object": kind, "created": int(time.time()), "model": MODEL}


def _choice(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}]}


def _finish(step: Step) -> str:
    return "tool_calls" if step.call else "stop"
