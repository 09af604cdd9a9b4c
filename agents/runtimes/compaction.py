"""A talk that nearly fills its model's window is made short.

The briefing, the agent's plan, what people said and the last steps stay as they are; a summary takes the place of the
rest. Pure, but for the model that writes the summary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pydantic_ai.direct import model_request_stream
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    RetryPromptPart,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import Model

WINDOW = 64_000
"""Tokens that a model takes of which nobody says it: most take more."""
FULL, KEPT, READ = 0.75, 0.25, 0.5
"""Shares of the window: from where on a talk is made short; what the last steps may have after that; what of the rest
the model reads for its summary."""
CHARS_A_TOKEN = 4
PART_CHARS = 4_000
"""Of one answer or output, for the summary."""
SAID_CHARS = 8_000
"""Of what people said, kept word for word."""
SUM_UP = """\
You are in the middle of a piece of work on a software repository, and your talk has become too long for your memory.
Write down what you must know to go on: what is done (files, functions, commands and what they showed), what is left,
decisions and why, what did not work. Exact names, paths and numbers; no courtesies. What you do not write down is lost.
"""
HEAD = """\
{briefing}

# So far

This talk became too long; what came before the next message is summed up here, in your own words.

{summary}
"""
TOO_LONG = ("context_length_exceeded", "maximum context length", "prompt is too long", "context window")


@dataclass
class Compaction:
    """Keeps one talk within its window."""

    window: int
    """Tokens."""
    said: list[str] = field(default_factory=list)
    """What people said in messages that are gone, oldest first."""

    def is_due(self, messages: Sequence[ModelMessage]) -> bool:
        """Whether the next request would leave too little room, and something can be done about it."""
        return size(messages) > FULL * self.window and self.helps(messages)

    def helps(self, messages: Sequence[ModelMessage]) -> bool:
        """Whether a talk can be made short: something can be summed up, or its only step has long results."""
        start = self._last_steps(messages)
        return start > 1 or self._fitting(messages[start:]) != messages[start:]

    def learn(self, messages: Sequence[ModelMessage]) -> None:
        """The provider found a talk too long: the window is smaller than was said."""
        self.window = min(self.window, size(messages))

    def rest(self, messages: Sequence[ModelMessage]) -> list[ModelMessage]:
        """What a summary shall take the place of: all between the first request and the last steps."""
        return list(messages[: self._last_steps(messages)])

    def shortened(
        self, messages: Sequence[ModelMessage], briefing: str, summary: str, plan: str = ""
    ) -> list[ModelMessage]:
        """The talk with a summary in the place of the rest, if there is any. `plan`: the agent's own list, as it is
        now."""
        start = self._last_steps(messages)
        if start < 2:
            return [*messages[:start], *self._fitting(messages[start:])]
        self.said += [text for message in messages[1:start] for text in _said(message)]
        text = HEAD.format(briefing=briefing, summary=summary)
        if plan:
            text += f"\n# Your plan\n\n{plan}\n"
        if said := "\n\n".join(self.said)[-SAID_CHARS:]:
            text += f"\n# What you were told meanwhile\n\n{said}\n"
        return [ModelRequest(parts=[UserPromptPart(text)]), *self._fitting(messages[start:])]

    async def summary(self, model: Model, rest: Sequence[ModelMessage]) -> ModelResponse:
        """Lets the model sum up."""
        room = int(READ * self.window * CHARS_A_TOKEN)
        whole = "\n\n".join(_told(message, PART_CHARS if index else room) for index, message in enumerate(rest))
        text = _middle_out(whole, room)
        ask = ModelRequest(parts=[SystemPromptPart(SUM_UP), UserPromptPart(f"{text}\n\nSum it up now.")])
        async with model_request_stream(model, [ask]) as answer:
            async for _ in answer:
                pass
            return answer.get()

    def _fitting(self, last: Sequence[ModelMessage]) -> Sequence[ModelMessage]:
        """The last steps, with their results cut down where they have more than is kept."""
        room = int(KEPT * self.window * CHARS_A_TOKEN)
        return last if _chars(last) <= room else [_clipped(message, room // max(len(last), 1)) for message in last]

    def _last_steps(self, messages: Sequence[ModelMessage]) -> int:
        """Where the last steps begin that fit: with an answer of the model, so that calls and results stay together.
        1 or less: there is nothing before them."""
        starts = [index for index, message in enumerate(messages) if isinstance(message, ModelResponse)]
        room = KEPT * self.window * CHARS_A_TOKEN
        fitting = [index for index in starts if _chars(messages[index:]) <= room]
        return min(fitting) if fitting else max(starts, default=0)


def size(messages: Sequence[ModelMessage]) -> int:
    """Tokens of a talk: as the provider last counted them, and what came since by its length."""
    counted = 0
    for index in reversed(range(len(messages))):
        message = messages[index]
        if isinstance(message, ModelResponse) and message.usage.input_tokens:
            used = message.usage.input_tokens + message.usage.output_tokens
            counted = used + _chars(messages[index + 1 :]) // CHARS_A_TOKEN
            break
    return max(counted, _chars(messages) // CHARS_A_TOKEN)


def is_too_long(error: ModelHTTPError) -> bool:
    """The provider says that the talk does not fit into the model's window."""
    body = str(error.body).lower()
    return error.status_code in (400, 413) and any(word in body for word in TOO_LONG)


def _chars(messages: Sequence[ModelMessage]) -> int:
    return sum(len(_text(part)) for message in messages for part in message.parts)


def _text(part: object) -> str:
    match part:
        case UserPromptPart() | SystemPromptPart():
            return part.content if isinstance(part.content, str) else str(part.content)
        case ToolReturnPart():
            return part.model_response_str()
        case RetryPromptPart():
            return part.model_response()
        case TextPart() | ThinkingPart():
            return part.content
        case ToolCallPart():
            return f"{part.tool_name} {part.args_as_json_str()}"
    return ""


def _said(message: ModelMessage) -> list[str]:
    return [_text(part) for part in message.parts if isinstance(part, UserPromptPart)]


def _told(message: ModelMessage, chars: int) -> str:
    """A message as the summary's reader sees it, with so much of each of its parts."""
    who = "You" if isinstance(message, ModelResponse) else "Answer"
    texts = [_middle_out(_text(part), chars) for part in message.parts if not isinstance(part, ThinkingPart)]
    return "\n".join(f"{who}: {text}" for text in texts if text)


def _clipped(message: ModelMessage, chars: int) -> ModelMessage:
    """A message whose results of tools are cut down; all else must stay."""
    if not isinstance(message, ModelRequest):
        return message
    parts: list[ModelRequestPart] = []
    for part in message.parts:
        text = part.model_response_str() if isinstance(part, ToolReturnPart) else ""
        if isinstance(part, ToolReturnPart) and len(text) > chars:
            parts.append(ToolReturnPart(part.tool_name, _middle_out(text, chars), part.tool_call_id))
        else:
            parts.append(part)
    return replace(message, parts=parts)


def _middle_out(text: str, chars: int) -> str:
    """The beginning and the end of a long text."""
    if len(text) <= chars:
        return text
    half = max(chars // 2, 1)
    return f"{text[:half]}\n[… {len(text) - 2 * half} characters left out …]\n{text[-half:]}"
