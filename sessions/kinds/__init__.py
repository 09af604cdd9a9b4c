"""Every kind of durable event, one frozen model each; `publish` refuses any other. Pure."""

from typing import Any

from sessions.kinds.moves import MOVED
from sessions.kinds.outside import AgentChanged, ProviderChanged, ServerChanged, WebhookChanged, WebhookTested
from sessions.kinds.payload import Decided, MovedTogether, Payload
from sessions.kinds.plans import (
    BranchSet,
    DeadlineSet,
    GoalStated,
    NodesPlanned,
    PlanProposed,
    PlanRefused,
    PrioritySet,
)
from sessions.kinds.policy import ExposureSet, ProjectChanged, RuleChanged
from sessions.kinds.talk import (
    MessageRecorded,
    PartRecorded,
    QuestionAsked,
    QuestionClosed,
    SessionEnded,
    SessionHeard,
    SessionImported,
    SessionsRemoved,
    SessionSteered,
)
from sessions.kinds.work import (
    Answered,
    ApprovalAsked,
    ApprovalDecided,
    ArtifactKept,
    ArtifactRemoved,
    AttemptStarted,
    BreakerMoved,
    BudgetSet,
    ChecksFinished,
    Doing,
    ExecutionPlaced,
    Landed,
    LeftoversKept,
    MergeConflicted,
    Merged,
    ModelCalled,
    RolledBack,
)

KINDS: dict[str, type[Payload]] = {f"{noun}.moved": model for noun, model in MOVED.items()} | {
    "nodes.moved": MovedTogether,
    "decision.made": Decided,
    "goal.stated": GoalStated,
    "plan.proposed": PlanProposed,
    "plan.refused": PlanRefused,
    "nodes.planned": NodesPlanned,
    "branch.set": BranchSet,
    "priority.set": PrioritySet,
    "deadline.set": DeadlineSet,
    "execution.placed": ExecutionPlaced,
    "leftovers.kept": LeftoversKept,
    "attempt.started": AttemptStarted,
    "checks.finished": ChecksFinished,
    "merge.conflicted": MergeConflicted,
    "node.answered": Answered,
    "node.merged": Merged,
    "swarm.landed": Landed,
    "swarm.rolled_back": RolledBack,
    "approval.asked": ApprovalAsked,
    "approval.decided": ApprovalDecided,
    "artifact.kept": ArtifactKept,
    "artifact.removed": ArtifactRemoved,
    "budget.set": BudgetSet,
    "agent.doing": Doing,
    "model.called": ModelCalled,
    "breaker.moved": BreakerMoved,
    "message.recorded": MessageRecorded,
    "part.recorded": PartRecorded,
    "question.asked": QuestionAsked,
    "question.closed": QuestionClosed,
    "session.steered": SessionSteered,
    "session.heard": SessionHeard,
    "session.ended": SessionEnded,
    "session.imported": SessionImported,
    "sessions.removed": SessionsRemoved,
    "agent.changed": AgentChanged,
    "provider.changed": ProviderChanged,
    "server.changed": ServerChanged,
    "rule.changed": RuleChanged,
    "project.changed": ProjectChanged,
    "exposure.set": ExposureSet,
    "webhook.changed": WebhookChanged,
    "webhook.tested": WebhookTested,
}

DECISIONS = ("approval.decided", "decision.made", "plan.refused")
"""Kinds that tell of a choice and its reason; they can be searched."""


class UnknownKind(ValueError):
    """No such kind of event: add it to sessions.kinds.KINDS."""


def checked(kind: str, payload: dict[str, Any]) -> dict[str, Any]:
    """The payload as its kind's model gives it. Raises UnknownKind or pydantic.ValidationError."""
    if kind not in KINDS:
        raise UnknownKind(kind)
    return KINDS[kind].model_validate(payload).model_dump(mode="json")
