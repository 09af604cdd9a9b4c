"""What an execution's start and end mean for the plan: the upward side of agents.ports."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from agents.contracts import (
    Assignment,
    CheckOutcome,
    FailureOutcome,
    FailureReason,
    Outcome,
    PlanOutcome,
    ReviewOutcome,
    WorkOutcome,
)
from agents.models import Execution
from swarms import (
    allowances,
    answering,
    approvals,
    artifacts,
    attempts,
    checks,
    dispatch,
    hints,
    landing,
    merges,
    nested,
    planner,
)
from swarms.models import Attempt, CheckRun, Swarm
from swarms.states import SWARM_PAUSED, AttemptState, CheckRunState, NodeState

WANTED: dict[str, type] = {
    "plan": PlanOutcome,
    "work": WorkOutcome,
    "review": ReviewOutcome,
    "check": CheckOutcome,
}
_NOT_ASKED = "reason: nobody asked it to stop, so it cannot be cancelled; say agent_error, and why it gives up"
FOLLOWS = {"exact": attempts.checked, "merged": merges.checked, "landing": landing.checked}
"""Who goes on when checks of a purpose are settled, beside the swarm itself."""


class Settlement:
    """Implements agents.ports.Settlement."""

    def lock(self, swarm: UUID) -> None:
        """See the protocol."""
        Swarm.objects.select_for_update(no_key=True).get(pk=swarm)

    def examine(self, execution: Execution, outcome: Outcome) -> tuple[list[str], Any]:
        """See the protocol."""
        if isinstance(outcome, FailureOutcome):
            # A node that was cancelled stops its swarm, whatever its plan says about failures: no agent decides that.
            is_made_up = outcome.reason == FailureReason.CANCELLED and execution.cancel_at is None
            return [_NOT_ASKED] * is_made_up, None
        if not isinstance(outcome, WANTED[execution.kind]):
            return [f"an execution of kind {execution.kind} does not end with an outcome of kind {outcome.kind}"], None
        match outcome:
            case PlanOutcome() if _is_part(execution):
                return nested.examine(_attempt(execution), outcome.plan), None
            case PlanOutcome():
                return planner.examine(_id(execution), outcome.plan), None
            case WorkOutcome():
                attempt = _attempt(execution)
                faults, facts = attempts.examine(attempt, outcome)
                faults += answering.examine(attempt, outcome.answers)
                return [*faults, *artifacts.examine(execution, outcome.artifacts)], facts
            case ReviewOutcome():
                return answering.examine(_attempt(execution), outcome.answers), None
            case CheckOutcome():
                return self._examine_checks(execution, outcome), None

    def _examine_checks(self, execution: Execution, outcome: CheckOutcome) -> list[str]:
        run = CheckRun.objects.get(pk=_id(execution))
        wanted = [(check["command"], run.commit) for check in run.checks]
        given = [(result.command, result.commit) for result in outcome.results]
        if wanted != given:
            return ["the results are not those of the checks that were asked for"]
        return artifacts.examine(execution, (result.artifact for result in outcome.results if result.artifact))

    def refused(self, execution: Execution, outcome: Outcome, faults: list[str]) -> None:
        """See the protocol."""
        if _is_part(execution):
            nested.refused(_attempt(execution), faults)
        elif isinstance(outcome, PlanOutcome):
            planner.refused(_id(execution), faults)

    def paused(self, swarms: Collection[UUID]) -> set[UUID]:
        """See the protocol."""
        found = Swarm.objects.filter(pk__in=swarms, state__in=SWARM_PAUSED) if swarms else Swarm.objects.none()
        return set(found.values_list("pk", flat=True))

    def started(self, execution: Execution) -> None:
        """See the protocol."""
        if execution.kind in ("work", "review") or _is_part(execution):
            attempts.started(_attempt(execution))

    def settled(self, execution: Execution, outcome: Outcome, facts: Any) -> None:
        """See the protocol."""
        approvals.void_calls(execution.pk)
        match outcome:
            case FailureOutcome():
                self._failed(execution, str(outcome.reason), outcome.message, outcome.detail)
            case PlanOutcome() if _is_part(execution):
                nested.proposed(_attempt(execution), outcome.plan)
            case PlanOutcome():
                planner.proposed(_id(execution), outcome.plan)
            case WorkOutcome():
                attempts.worked(_attempt(execution), outcome, facts)
            case ReviewOutcome():
                attempts.reviewed(_attempt(execution), outcome)
            case CheckOutcome():
                self._checked(_run(execution), outcome)
        self._wake(execution)

    def next(self, execution: Execution) -> Assignment | None:
        """See the protocol."""
        return dispatch.take_next(execution.runner_id, held=execution.swarm)

    def ended(self, execution: Execution) -> None:
        """See the protocol."""
        approvals.void_calls(execution.pk)
        self._failed(execution, execution.reason, execution.because, "")
        self._wake(execution)

    def wants_leftovers(self, execution: Execution) -> bool:
        """See the protocol."""
        mine = Attempt.objects.filter(execution=execution).exclude(state=AttemptState.SUCCEEDED)
        return mine.exclude(node__state=NodeState.SUCCEEDED).exists()

    def soft_line(self, swarm: UUID, subjects: list[str]) -> None:
        """See the protocol."""
        allowances.soft_line(swarm, subjects)

    def _wake(self, execution: Execution) -> None:
        hints.advance(execution.swarm)
        hints.dispatch()

    def _failed(self, execution: Execution, reason: str, because: str, detail: str) -> None:
        match execution.kind:
            case "plan" if not _is_part(execution):
                planner.gave_up(_id(execution), reason, because)
            case "check":
                run = _run(execution)
                if run.state == CheckRunState.RUNNING:
                    checks.lost(run, f"{reason}: {because}")
            case _:
                attempts.fail(_attempt(execution), reason=reason, because=because, evidence=detail)
        if reason == allowances.REASON:
            allowances.ran_out(execution)

    def _checked(self, run: CheckRun, outcome: CheckOutcome) -> None:
        if run.state == CheckRunState.RUNNING:
            checks.finished(run, outcome)


def lose_checks(run_id: UUID, because: str) -> None:
    """No runner has these checks any more: run them again, or they are broken. With the swarm locked."""
    run = _checks(run_id)
    checks.lost(run, because)
    hints.advance(run.swarm_id)


def _is_part(execution: Execution) -> bool:
    """Whether it details a node of kind plan."""
    return execution.kind == "plan" and execution.subject.startswith("node:")


def _id(execution: Execution) -> UUID:
    return UUID(execution.subject.partition(":")[2])


def _attempt(execution: Execution) -> Attempt:
    return Attempt.objects.select_related("node__swarm__project", "execution__runner").get(execution=execution)


def _run(execution: Execution) -> CheckRun:
    return _checks(_id(execution))


def _checks(run_id: UUID) -> CheckRun:
    return CheckRun.objects.select_related(
        "swarm__project", "attempt__node__swarm__project", "merge__attempt__node"
    ).get(pk=run_id)
