"""What a runner reports when an execution is over."""

from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from agents.contracts.assignment import Frozen, Given
from agents.contracts.plan import PlanProposal


class FailureReason(StrEnum):
    """Why an execution brought no result."""

    AGENT_ERROR = "agent_error"  # the agent gave up or its program broke
    MODEL_ERROR = "model_error"  # the model could not be reached or refused
    INVALID_OUTPUT = "invalid_output"  # the answer kept breaking its contract
    NO_CHANGES = "no_changes"  # the agent ended without a commit
    WORKSPACE_ERROR = "workspace_error"  # clone, commit or push failed
    SANDBOX_MISSING = "sandbox_missing"  # neither bubblewrap nor unshare works here
    TIMED_OUT = "timed_out"  # start-to-close limit
    CANCELLED = "cancelled"  # stopped on request
    PROVIDER_UNAVAILABLE = "provider_unavailable"  # the model's provider is away or wants fewer calls
    LOST = "lost"  # the agent's server died, and did not come back
    BUDGET_EXCEEDED = "budget_exceeded"  # a budget that it draws on is used up


class CheckResult(Frozen):
    """One check, run once, on one commit."""

    name: str
    command: str
    commit: str
    exit_code: int
    seconds: float
    output: str = ""
    """The end of stdout and stderr together."""
    truncated: bool = False
    artifact: UUID | None = None
    """Where the whole output is kept, when that is longer."""
    passed: int | None = None
    """Tests that passed, where the output tells (unittest, pytest)."""
    failed: int | None = None

    @property
    def ok(self) -> bool:
        return self.exit_code == 0


class Finding(Frozen):
    """Something a reviewer saw; it names its place."""

    path: str
    line: int = Field(ge=1)
    severity: Literal["note", "problem"] = "note"
    text: str


class PlanOutcome(Frozen):
    kind: Literal["plan"] = "plan"
    plan: PlanProposal


class WorkOutcome(Frozen):
    kind: Literal["work"] = "work"
    commit: str
    """Head of the pushed branch."""
    summary: str
    files: tuple[str, ...] = ()
    artifacts: tuple[UUID, ...] = ()
    """Files that are kept beside the commit: what the answers to their uploads said."""
    answers: dict[str, Given] = {}
    """Exactly those that the assignment asks for, by name: "yes" or "no", a number, or one of the words."""


class ReviewOutcome(Frozen):
    kind: Literal["review"] = "review"
    verdict: Literal["approve", "request_changes"]
    summary: str
    findings: tuple[Finding, ...] = ()
    answers: dict[str, Given] = {}
    """As in WorkOutcome."""


class CheckOutcome(Frozen):
    kind: Literal["check"] = "check"
    results: tuple[CheckResult, ...]


class FailureOutcome(Frozen):
    kind: Literal["failure"] = "failure"
    reason: FailureReason
    message: str
    detail: str = ""


Outcome = Annotated[
    PlanOutcome | WorkOutcome | ReviewOutcome | CheckOutcome | FailureOutcome, Field(discriminator="kind")
]


class ArtifactKept(Frozen):
    """Answer to POST {url}/artifacts?name=…&media_type=…, whose body is a file as it is; X-Waggle-Fence has the fence.

    Other answers: 409: the fence is stale; 413 {"faults": ["…"]}: it is larger than it may be; 422 {"faults": ["…"]}:
    its name is none. Sent twice, it is one; another file of the same name takes the place of the first.
    """

    artifact: UUID
    name: str
    sha256: str
    size: int


class OutcomeReport(Frozen):
    """Body of POST {url}/outcome.

    Answers: 200 {"accepted": true} (also when the same report comes twice); 409: the fence is stale (stop, push
    nothing more); 422 {"faults": ["…"]}: the outcome breaks its contract; tell the agent and report again.
    """

    fence: UUID
    outcome: Outcome
    takes_next: bool = False
    """Whoever reports can begin with another assignment at once: the answer may have it as `next`."""
