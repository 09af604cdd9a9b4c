"""The contract between plan and runtime: pure data, shared by control plane and runners.

Only the standard library and pydantic are imported here, so that a runner never loads Django.
"""

from agents.contracts.assignment import (
    AGENT_RUNTIMES,
    REVERTING,
    RUNTIMES,
    AnswerAsked,
    Assignment,
    Check,
    Given,
    Host,
    Limits,
    ModelAccess,
    Repository,
)
from agents.contracts.outcome import (
    ArtifactKept,
    CheckOutcome,
    CheckResult,
    FailureOutcome,
    FailureReason,
    Finding,
    Outcome,
    OutcomeReport,
    PlanOutcome,
    ReviewOutcome,
    WorkOutcome,
)
from agents.contracts.permission import PermissionAsked, PermissionGiven
from agents.contracts.plan import PlanNode, PlanProposal
from agents.contracts.records import (
    Delta,
    Doing,
    MessageRecord,
    PartKind,
    PartRecord,
    PastMessage,
    PastPart,
    Record,
    RecordBatch,
    Usage,
)

__all__ = [
    "AGENT_RUNTIMES",
    "REVERTING",
    "RUNTIMES",
    "AnswerAsked",
    "ArtifactKept",
    "Assignment",
    "Check",
    "CheckOutcome",
    "CheckResult",
    "Delta",
    "Doing",
    "FailureOutcome",
    "FailureReason",
    "Finding",
    "Given",
    "Host",
    "Limits",
    "MessageRecord",
    "ModelAccess",
    "Outcome",
    "OutcomeReport",
    "PartKind",
    "PartRecord",
    "PastMessage",
    "PastPart",
    "PermissionAsked",
    "PermissionGiven",
    "PlanNode",
    "PlanOutcome",
    "PlanProposal",
    "Record",
    "RecordBatch",
    "Repository",
    "ReviewOutcome",
    "Usage",
    "WorkOutcome",
]
