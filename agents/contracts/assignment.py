"""What a runner is asked to do."""

from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal["plan", "work", "review", "check"]
RUNTIMES = {
    "builtin": "agents.runtimes.builtin",
    "opencode": "agents.runtimes.opencode.runtime",
    "acp": "agents.runtimes.acp.runtime",
    "command": "agents.runtimes.command",
}
"""What can drive an agent, each with its module; the first one does unless another is asked for."""
AGENT_RUNTIMES = tuple(RUNTIMES)
REVERTING = ("opencode",)
"""Those whose agents can have taken back what they did: see `reverts` of their `CAN`."""


class Frozen(BaseModel):
    """A value that travels between processes: no unknown fields, never changed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Check(Frozen):
    """A command that must exit with 0 at the root of a workspace."""

    name: str = Field(min_length=1, max_length=80, description="Short name, e.g. 'unit tests'.")
    command: str = Field(min_length=1, max_length=2000, description="Shell command, run at the repository's root.")
    timeout: int = Field(default=120, ge=1, le=3600, description="Seconds until the command is stopped.")


class AnswerAsked(Frozen):
    """A named answer that an agent owes at its end; conditions of later nodes can look at it."""

    name: str = Field(description="Lower-case letters, digits and underscores, e.g. 'needs_docs'.")
    kind: Literal["yes_no", "number", "word"] = Field(
        default="yes_no", description="yes_no: it is yes or no; number; word: it is one of `words`."
    )
    asks: str = Field(description="What is asked, in one line, e.g. 'Does the change need documentation?'")
    words: tuple[str, ...] = Field(default=(), description="What the answer may be; for kind word alone.")

    @property
    def takes(self) -> str:
        """What the answer may be, for people and agents."""
        return {"yes_no": "yes or no", "number": "a number"}.get(self.kind) or " or ".join(self.words)


Given = bool | int | float | str
"""A named answer as it travels."""


class Limits(Frozen):
    """What one command of an agent, or one check, may use."""

    seconds: int = 120
    memory_mb: int = 1024
    processes: int = 128
    output_bytes: int = 65_536


class ModelAccess(Frozen):
    """Where to reach a model. Always the control plane's gateway; the attempt token is the key."""

    base_url: str
    name: str
    window: int | None = None
    """Tokens that it takes at once; None: nobody knows."""
    rehearsal: bool = False
    """The answers are a recording: safe to run where no sandbox works."""


class Repository(Frozen):
    """The git repository of one assignment, on the control plane."""

    url: str
    commit: str
    """What the workspace starts from, a full SHA-1."""
    branch: str | None = None
    """The only ref that this assignment may push; None when it may push nothing."""
    author: str = "Waggle agent <agent@waggle.invalid>"


class Host(Frozen):
    """An enrolled agent server on the runner's machine: an agent works there, in the workspace that the runner made."""

    id: UUID
    name: str
    url: str
    username: str = ""
    password: str = ""
    """Empty: it wants none."""


class Assignment(Frozen):
    """One execution: everything a runner needs, and nothing else."""

    execution: UUID
    fence: UUID
    """The lease's token: every report carries it and is refused with 409 when it is not the live one."""
    team: str
    kind: Kind
    subject: str
    """For people and logs, e.g. 'node:tokens' or 'goal:3'."""
    title: str
    role: str
    attempt: int = 1
    briefing: str = ""
    """What the agent is told, in Markdown."""
    runtime: str = "builtin"
    host: Host | None = None
    """Where its agent works; None: in a process of the runner's own."""
    writes: tuple[str, ...] = ()
    unasked: tuple[str, ...] = ()
    """Tools (see PermissionAsked) that the team's rules allow for whatever is in the workspace: no need to ask."""
    checks: tuple[Check, ...] = ()
    answers: tuple[AnswerAsked, ...] = ()
    """What its outcome must answer by name."""
    repository: Repository | None = None
    model: ModelAccess | None = None
    limits: Limits = Limits()
    session: UUID
    """The session to which this execution's messages belong."""
    token: str
    """The attempt token: for git, records, outcome and model; revoked when the execution ends."""
    url: str
    """Root of this execution's endpoints: {url}/records, {url}/outcome."""
    mcp: str = ""
    """Where the control plane answers agents over the Model Context Protocol; the attempt token is the key."""
    lease_seconds: float = 30
    heartbeat_seconds: float = 10
    time_limit: float = 1800
    model_calls: int = Field(default=60, ge=1)
    """After so many without an end its agent has failed."""
    trace: str = ""

    def by_way_of(self, address: str) -> "Assignment":
        """The same with every address of the control plane below this one: by which its runner came to it."""
        here, _, _ = self.url.partition("/t/")

        def moved(url: str) -> str:
            return address + url.removeprefix(here) if url.startswith(f"{here}/") else url

        changes: dict[str, Any] = {"url": moved(self.url), "mcp": moved(self.mcp)}
        if self.repository:
            changes["repository"] = self.repository.model_copy(update={"url": moved(self.repository.url)})
        if self.model:
            changes["model"] = self.model.model_copy(update={"base_url": moved(self.model.base_url)})
        return self.model_copy(update=changes)
