"""The file of an exported swarm: a zip with a manifest and members of JSON lines, each line of a known form. Pure.

`manifest.json` comes last when the file is written, and is read first. The members have one JSON object a line;
beside them lie the bytes of artifacts, each under its SHA-256.
"""

import zipfile
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

from sessions.storable import EARLIEST, LATEST

FORMAT = 3
KIND = "waggle.swarm"
MANIFEST = "manifest.json"
MOST_MANIFEST = 1 << 20
MOST_LINE = 16 << 20
"""Bytes of one line: a part of a transcript holds what a command printed."""
MOST_BYTES = 2 << 30
"""Bytes of all members together, unpacked."""
MOST_CONTENTS = 256 << 20
"""Bytes of artifacts in one file; what does not fit in is named, and left out."""
MOST_LINES = 3_000_000
MOST_FILE = 64 << 20
"""Bytes of a file that is brought in by the browser; the command has no such limit."""

Moment = Annotated[AwareDatetime, Field(ge=EARLIEST, le=LATEST)]
Count = Annotated[int, Field(ge=-(10**15), le=10**15)]
Key = Annotated[str, Field(max_length=80)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Line(BaseModel):
    """What a line of a member says."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class EventLine(Line):
    """One event; its number is the line's."""

    seq: int
    kind: str
    payload: dict[str, Any]
    actor: str
    at: Moment
    id: UUID
    cause: UUID | None
    """The event that it follows from, by its id; it may be none of these."""
    trace: Annotated[str, Field(max_length=32)]


class PlanLine(Line):
    """One version of the plan."""

    version: int
    state: str
    source: str
    node: Key
    because: str
    document: dict[str, Any] | None
    faults: list[str]
    warnings: list[str]
    by: str
    created_at: Moment


class SessionLine(Line):
    """A talk of an agent with its model; its messages and parts follow."""

    type: Literal["session"] = "session"
    id: UUID
    node: Key
    """Empty: it planned, or ran checks."""
    attempt: int | None
    kind: str
    agent: str
    model: str
    title: str
    input_tokens: Count
    output_tokens: Count
    created_at: Moment
    ended_at: Moment | None


class MessageLine(Line):
    """A message of the session before it."""

    type: Literal["message"] = "message"
    id: UUID
    session: UUID
    number: int
    role: str
    author: str
    model: str
    created_at: Moment


class PartLine(Line):
    """A part of the message before it."""

    type: Literal["part"] = "part"
    id: UUID
    session: UUID
    message: UUID
    index: int
    kind: str
    state: str
    text: str
    tool: str
    input: dict[str, Any]
    output: str
    usage: dict[str, Count | None] | None
    started_at: Moment | None
    ended_at: Moment | None
    created_at: Moment
    updated_at: Moment


TranscriptLine = Annotated[SessionLine | MessageLine | PartLine, Field(discriminator="type")]


class DiffLine(Line):
    """What an attempt changed, as a unified diff; `node` is empty for the whole result."""

    node: Key
    attempt: int | None
    base: str
    commit: str
    text: str
    missing: str = ""
    """Why there is none."""


class CheckLine(Line):
    """Checks that were run on a commit, with their output."""

    purpose: str
    node: Key
    attempt: int | None
    commit: str
    state: str
    because: str
    results: list[dict[str, Any]]
    created_at: Moment
    ended_at: Moment | None


class ApprovalLine(Line):
    """What a person was asked, and the answer."""

    kind: str
    title: str
    node: Key
    state: str
    because: str
    subject: dict[str, Any]
    requested_by: str
    requested_at: Moment
    decided_by: str
    decided_at: Moment | None


class ArtifactLine(Line):
    """A file that an agent left beside its commit; a text is there without secrets, so its size may be another."""

    id: UUID
    node: Key
    """Empty: it was made by no attempt of a node."""
    attempt: int | None
    name: Annotated[str, Field(max_length=200)]
    media_type: Annotated[str, Field(max_length=100)]
    made_by: Annotated[str, Field(max_length=80)]
    created_at: Moment
    sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
    """Where its bytes are in the file; empty: they were left out."""
    size: Annotated[int, Field(ge=0)]
    missing: str = ""
    """Why they were left out."""


LINES: dict[str, TypeAdapter[Any]] = {
    "events": TypeAdapter(EventLine),
    "plans": TypeAdapter(PlanLine),
    "transcripts": TypeAdapter(TranscriptLine),
    "diffs": TypeAdapter(DiffLine),
    "checks": TypeAdapter(CheckLine),
    "approvals": TypeAdapter(ApprovalLine),
    "artifacts": TypeAdapter(ArtifactLine),
}
"""The members, each `<name>.jsonl`, and the form of its lines. All are there, if need be empty."""


def file_of(member: str) -> str:
    """The name of a member in the zip."""
    return f"{member}.jsonl"


def file_of_content(sha256: str) -> str:
    """The name of an artifact's bytes in the zip."""
    return f"artifacts/{sha256}"


def entry(name: str) -> zipfile.ZipInfo:
    """An entry of the zip without the moment of this machine's clock."""
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


class Member(Line):
    """How a member must be found."""

    sha256: Sha256
    bytes: Annotated[int, Field(ge=0, le=MOST_BYTES)]
    lines: Annotated[int, Field(ge=0, le=MOST_LINES)]


class SwarmWords(Line):
    """The swarm, for its page."""

    id: UUID
    project: Annotated[str, Field(max_length=80)]
    project_name: str
    target_branch: str
    number: Annotated[int, Field(ge=0, le=2**31 - 1)]
    goal: str
    by: str
    state: Annotated[str, Field(max_length=16)]
    base_commit: str
    created_at: Moment
    ended_at: Moment | None


class Manifest(Line):
    """What is in the file, who made it, and what was left out."""

    kind: Literal["waggle.swarm"]
    format: int
    waggle: str
    """Version of the installation that made it."""
    exported_at: Moment
    swarm: SwarmWords
    members: dict[str, Member]
    contents: dict[Sha256, Annotated[int, Field(ge=0, le=MOST_CONTENTS)]]
    """Bytes of artifacts in the file, by their SHA-256."""
    redacted: dict[str, int]
    """How often something was taken out, by what it was."""


def key_of(member: str, line: Any) -> str:
    """By what a line is found: a node's key, a version, or the session whose message or part it is."""
    match line:
        case PlanLine():
            return str(line.version)
        case MessageLine() | PartLine():
            return str(line.session)
        case SessionLine() | DiffLine() | CheckLine() | ApprovalLine() | ArtifactLine():
            return line.node
    return ""
