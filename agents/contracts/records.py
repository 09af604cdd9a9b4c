"""What a runtime records while it works: the transcript, as it streams."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field

from agents.contracts.assignment import Frozen

PartKind = Literal["text", "reasoning", "tool", "file", "patch", "question", "step", "error"]
"""What a part is. A file has its name and type in `input` (name, mime), its contents in `text`; a question its options
in `input`, and in `output` the answer."""


class Usage(Frozen):
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_microusd: int | None = None
    """Millionths of a dollar. The control plane knows it, not the runtime: what a runner says here does not count."""


class MessageRecord(Frozen):
    """A message begins. The id is made by the runtime; sending it again changes nothing."""

    type: Literal["message"] = "message"
    id: UUID
    role: Literal["system", "user", "assistant"]
    model: str = ""
    """What the provider says answered, e.g. 'rehearsal'."""


class PartRecord(Frozen):
    """A part as it now is (whole, not a difference). Later states replace earlier ones."""

    type: Literal["part"] = "part"
    id: UUID
    message: UUID
    index: int = Field(ge=0)
    """Place in the message."""
    kind: PartKind
    state: Literal["open", "done", "failed"] = "done"
    text: str = ""
    tool: str = ""
    input: dict[str, Any] = {}
    output: str = ""
    usage: Usage | None = None
    """For kind 'step': what the model call cost."""
    started_at: AwareDatetime | None = None
    """For what takes its time, such as a tool call: when it began and ended, by the runtime's clock."""
    ended_at: AwareDatetime | None = None


class PastMessage(MessageRecord):
    """A message of a session that happened elsewhere, with its own time. Runners cannot send it."""

    author: str = ""
    """The name of the person who said it, if one did."""
    created_at: AwareDatetime


class PastPart(PartRecord):
    """A part of a session that happened elsewhere, with its own times. Runners cannot send it."""

    created_at: AwareDatetime
    updated_at: AwareDatetime


class Delta(Frozen):
    """More text for an open part. Ephemeral: a gap is mended by the next whole PartRecord."""

    type: Literal["delta"] = "delta"
    part: UUID
    offset: int = Field(ge=0)
    """Characters of the part's text before this."""
    text: str


class Doing(Frozen):
    """What the agent does now, one line for people."""

    type: Literal["doing"] = "doing"
    text: str = Field(max_length=200)


Record = Annotated[MessageRecord | PartRecord | Delta | Doing, Field(discriminator="type")]


class RecordBatch(Frozen):
    """Body of POST {url}/records. Answers: 200 {"accepted": n}; 409 the fence is stale."""

    fence: UUID
    records: tuple[Record, ...] = Field(max_length=500)
