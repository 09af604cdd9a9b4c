"""A node so large that the coordinator details it into a plan of its own, when its turn has come."""

from collections.abc import Iterable

from agents.contracts import PlanProposal
from sessions.transitions import move
from swarms import attempts, planner, versions
from swarms.models import Attempt, Plan
from swarms.states import NodeState, PlanState


def examine(attempt: Attempt, proposal: PlanProposal) -> list[str]:
    """The faults of a proposal, while its author may still mend them."""
    plan = versions.part_of(attempt.node)
    if plan.state != PlanState.DRAFTING or plan.rounds + 1 >= planner.ROUNDS:
        return []
    return versions.faults(plan, proposal)


def refused(attempt: Attempt, faults: list[str]) -> None:
    """A round ended with faults; the coordinator has the list."""
    planner.refused(versions.part_of(attempt.node).pk, faults)


def proposed(attempt: Attempt, proposal: PlanProposal) -> None:
    """The coordinator has detailed the node: the plan waits to be adopted. With the swarm locked."""
    plan = versions.part_of(attempt.node)
    if plan.state != PlanState.DRAFTING:
        attempts.fail(attempt, reason="cancelled", because="its plan is no longer wanted")
        return
    Plan.objects.filter(pk=plan.pk).update(rounds=plan.rounds + 1)
    if faults := versions.faults(plan, proposal):
        document = proposal.model_dump(mode="json")
        move(plan, PlanState.INVALID, because="its proposals had faults", faults=faults, document=document)
        failed(plan, "invalid_output", f"{plan.rounds + 1} proposals had faults", faults)
    elif move(attempt.node, NodeState.VERIFYING, because="its plan is proposed", summary=proposal.summary):
        planner.propose(plan, proposal)


def succeeded(plan: Plan, kept: PlanProposal) -> None:
    """The node's plan was adopted: the node is done, and its parts begin. With the swarm locked."""
    attempt = _attempt(plan)
    if attempt is not None:
        attempts.detailed(attempt, f"detailed into {len(kept.nodes)} nodes by plan {plan.version}")


def failed(plan: Plan, reason: str, because: str, evidence: Iterable[str]) -> None:
    """The node was not detailed: another attempt, or the node has failed. With the swarm locked."""
    attempt = _attempt(plan)
    if attempt is not None:
        text = "\n".join(f"- {line}" for line in evidence)
        attempts.fail(attempt, reason=reason, because=because, evidence=f"About your last plan:\n{text}")


def _attempt(plan: Plan) -> Attempt | None:
    live = Attempt.objects.select_related("node__swarm__project", "execution").filter(node=plan.node, ended_at=None)
    return live.first()
