"""Versions of a swarm's plan: what is wrong with one, what it would change, and how one ends."""

from django.db.models import Max

from agents import executions
from agents.contracts import PlanProposal
from agents.models import Execution
from sessions.transitions import move
from swarms import amend, approvals, exposure, graph, plan_rows
from swarms.amend import Changes
from swarms.models import Node, Plan, Swarm
from swarms.states import PlanState, SwarmState
from swarms.vertex import NESTED
from tenants import turns

PLAN_OPEN = (PlanState.DRAFTING, PlanState.INVALID, PlanState.PROPOSED)
AMENDABLE = (SwarmState.RUNNING, SwarmState.PAUSED)
"""States in which the plan that is carried out can be changed."""


def next_version(swarm: Swarm) -> int:
    """The number of the next version. With the swarm locked."""
    return (swarm.plans.aggregate(last=Max("version"))["last"] or 0) + 1


def completed(plan: Plan, proposal: PlanProposal) -> PlanProposal:
    """A proposal as it is kept: with what its author needs not write, under the keys of the whole.

    Parts read what the node reads that they detail, and no coordinator takes from a node that it reads strangers'
    words.
    """
    if plan.node:
        parts = amend.prefixed(proposal, plan.node.key)
        return exposure.kept(parts, {part.key: plan.node for part in parts.nodes})
    if plan.amends_id and plan.source == "coordinator":
        now = plan_rows.present(plan.swarm)
        return exposure.kept(amend.with_begun(now, proposal), {one.node.key: one.node for one in now})
    return proposal


def faults(plan: Plan, proposal: PlanProposal) -> list[str]:
    """What is wrong with a proposal, as its author wrote it, for this version."""
    swarm, project = plan.swarm, plan.swarm.project
    nodes, depth = project.max_nodes, project.max_depth
    if not plan.amends_id:
        return graph.faults(proposal, max_nodes=nodes, max_depth=depth)
    now, taken = plan_rows.present(swarm), plan_rows.taken_keys(swarm)
    if plan.node:
        return amend.part_faults(now, proposal, under=plan.node.key, max_nodes=nodes, max_depth=depth, taken=taken)
    if plan.source == "coordinator":
        proposal = amend.with_begun(now, proposal)
    found = amend.faults(now, proposal, max_nodes=nodes, max_depth=depth, taken=taken)
    if not found and amend.changes(now, proposal).is_empty:
        found = ["Nothing changes: add, drop or rewrite a node that has not begun."]
    return found


def changes(plan: Plan, kept: PlanProposal) -> Changes:
    """What a version (as it is kept) changes in the swarm as it is now."""
    now = plan_rows.present(plan.swarm)
    return amend.changes(now, amend.grafted(now, kept, under=plan.node.key) if plan.node else kept)


def warnings(plan: Plan, kept: PlanProposal) -> list[str]:
    """What is worth a look in a version as it is kept; of a part also what it shares with the rest."""
    if plan.node is None:
        return graph.warnings(kept)
    key = plan.node.key
    whole = graph.warnings(amend.grafted(plan_rows.present(plan.swarm), kept, under=key))
    return [warning for warning in whole if f"'{key}{NESTED}" in warning]


def late_faults(plan: Plan, kept: PlanProposal) -> list[str]:
    """Why a version that was good when it was proposed can no longer be adopted; empty: it can."""
    project, now = plan.swarm.project, plan_rows.present(plan.swarm)
    wanted = amend.grafted(now, kept, under=plan.node.key) if plan.node else kept
    taken = plan_rows.taken_keys(plan.swarm)
    given = [node.key for node in kept.nodes] if plan.node else []
    found = amend.faults(
        now, wanted, max_nodes=project.max_nodes, max_depth=project.max_depth, taken=taken, given=given
    )
    if plan.node or found:
        return found
    main = plan_rows.main_plan(plan.swarm)
    if main and main.pk != plan.amends_id:
        return [f"Plan {main.version} took effect meanwhile: make the change again on top of it."]
    if amend.changes(now, wanted).summary != plan.changes:
        return ["The swarm has changed since this was proposed, and other nodes would change now: propose it again."]
    return []


def supersede(plan: Plan, because: str) -> None:
    """An open version has no future: nobody is asked about it, and nobody works on it."""
    if move(plan, PlanState.SUPERSEDED, because=because):
        close(plan, because)


def close(plan: Plan, because: str) -> None:
    """A version is decided: take back its ticket and its question, and stop who writes it."""
    turns.unqueue("plan", plan.pk)
    executions.request_cancel(Execution.objects.filter(subject=f"plan:{plan.pk}", ended_at=None))
    approvals.void(plan.swarm, because=because, plan=plan)


def begin_part(node: Node) -> Plan:
    """The version in which the coordinator details a node of kind plan. With the swarm locked."""
    swarm = node.swarm
    end_parts(node, "another attempt takes its place")
    return Plan.objects.create(
        swarm=swarm, version=next_version(swarm), source="coordinator", node=node, amends=plan_rows.main_plan(swarm)
    )


def end_parts(node: Node, because: str) -> None:
    """Nobody details this node any more."""
    for plan in Plan.objects.filter(node=node, state__in=PLAN_OPEN).select_related("swarm"):
        supersede(plan, because)


def part_of(node: Node) -> Plan:
    """The version that details a node now."""
    return Plan.objects.select_related("swarm__project", "node").filter(node=node).latest("version")
