"""From a goal to a plan: the coordinator's turn, its rounds, plans given as YAML, and nodes from an approved plan."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import yaml
from pydantic import ValidationError

from agents import executions
from agents.contracts import PlanNode, PlanProposal
from agents.models import Execution
from sessions.events import publish
from sessions.transitions import move
from swarms import approvals, briefing, graph, hints
from swarms.digests import digest
from swarms.models import Edge, Node, Plan, Swarm
from swarms.reasons import PARKED, RULES, UNKNOWN, Counts, Retry
from swarms.states import NodeState, PlanState, SwarmState
from swarms.workspace import repos
from tenants import turns
from tenants.models import Runner, User

ROUNDS = 3
"""Proposals that the coordinator may make before a person must help."""
MAX_PLAN_TRIES = 3
DEEPEST = 20
"""Levels of a plan's YAML; a plan needs six."""
MOST_FAULTS = 100
PLAN_TIME = 600.0


class PlanFaults(ValueError):
    """A plan that cannot be used, with everything that is wrong with it."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class _Plain(yaml.SafeLoader):
    """YAML without references, by which a short text can stand for a huge one, and without deep nests."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """One value and what is in it. Raises YAMLError."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "a plan has no references (*name): write it out", mark)
        self.depth += 1
        if self.depth > DEEPEST:
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, f"a plan is at most {DEEPEST} levels deep", mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def read_yaml(text: str) -> PlanProposal:
    """A plan written by a person. Raises PlanFaults that name each field."""
    try:
        loaded = yaml.load(text, Loader=_Plain)
    except (yaml.YAMLError, ValueError) as error:  # a ValueError of a number or date that is none
        raise PlanFaults([f"This is not YAML: {error}"]) from error
    if not isinstance(loaded, dict):
        raise PlanFaults(["A plan is a mapping with the keys summary, nodes and acceptance."])
    loaded.setdefault("summary", "")
    try:
        proposal = PlanProposal.model_validate(loaded)
    except ValidationError as error:
        found = error.errors()[:MOST_FAULTS]
        raise PlanFaults([f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in found]) from error
    if "\\u0000" in proposal.model_dump_json():
        raise PlanFaults(["A plan has no NUL characters (\\0). Take them out."])
    return proposal


def write_yaml(document: dict[str, Any]) -> str:
    """A plan's document as YAML, to be edited by a person."""
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)


def draft(swarm: Swarm, *, note: str = "") -> Plan:
    """The next version of a plan, for the coordinator to write; earlier open ones are superseded."""
    version = _supersede(swarm)
    plan = Plan.objects.create(swarm=swarm, version=version, source="coordinator", because=note)
    turns.queue("plan", plan.id, priority=1000)
    hints.dispatch()
    return plan


def _supersede(swarm: Swarm) -> int:
    """End the open plans of a swarm; returns the next version."""
    last = 0
    for plan in swarm.plans.order_by("version"):
        last = plan.version
        if plan.state in (PlanState.DRAFTING, PlanState.INVALID, PlanState.PROPOSED):
            move(plan, PlanState.SUPERSEDED, because="a later version takes its place")
            turns.unqueue("plan", plan.id)
            executions.request_cancel(Execution.objects.filter(subject=f"plan:{plan.id}", ended_at=None))
    approvals.void(swarm, kind="plan", because="the plan changed")
    return last + 1


def begin(plan_id: UUID, runner: Runner) -> Execution | None:
    """The coordinator's turn has come: place it."""
    # The swarm first: whoever cancels it must see this execution, or this must see that.
    Swarm.objects.select_for_update(no_key=True, of=("self",)).get(plans=plan_id)
    plan = Plan.objects.select_related("swarm__project", "swarm__goal").get(pk=plan_id)
    swarm = plan.swarm
    if plan.state != PlanState.DRAFTING or swarm.state != SwarmState.PLANNING:
        return None
    Plan.objects.filter(pk=plan.pk).update(tries=plan.tries + 1)
    files = repos.file_list(swarm.project, swarm.base_commit)
    return executions.open_execution(
        kind="plan",
        subject=f"plan:{plan.id}",
        swarm=swarm.id,
        runner=runner,
        agent=executions.next_agent("coordinator"),
        title=f"Plan {swarm}",
        assignment={
            "role": "coordinator",
            "attempt": plan.tries + 1,
            "briefing": briefing.for_plan(swarm, files, note=plan.because),
            "repository": {"url": str(swarm.project_id), "commit": swarm.base_commit},
            "time_limit": PLAN_TIME,
        },
        stall_seconds=swarm.project.stall_minutes * 60,
    )


def examine(plan_id: UUID, proposal: PlanProposal) -> list[str]:
    """The faults of a proposal."""
    plan = Plan.objects.select_related("swarm__project").get(pk=plan_id)
    if plan.rounds + 1 >= ROUNDS:
        # The last round: it is kept as it is, and a person sees what is wrong with it.
        return []
    return graph.faults(proposal, max_nodes=plan.swarm.project.max_nodes)


def refused(plan_id: UUID, faults: list[str]) -> None:
    """A round ended with faults; the coordinator has the list."""
    plan = Plan.objects.select_related("swarm").get(pk=plan_id)
    if plan.state != PlanState.DRAFTING:
        return  # another plan took its place meanwhile
    Plan.objects.filter(pk=plan_id).update(rounds=plan.rounds + 1)
    publish(
        plan.event_subject,
        "plan.refused",
        plan=str(plan.pk),
        version=plan.version,
        round=plan.rounds + 1,
        faults=faults,
    )


def proposed(plan_id: UUID, proposal: PlanProposal) -> None:
    """The coordinator's proposal was accepted, or its rounds are used up."""
    plan = Plan.objects.select_related("swarm__project").get(pk=plan_id)
    if plan.state != PlanState.DRAFTING:
        return  # another plan took its place meanwhile, or the swarm is stopping
    Plan.objects.filter(pk=plan_id).update(rounds=plan.rounds + 1)
    faults = graph.faults(proposal, max_nodes=plan.swarm.project.max_nodes)
    if faults:
        move(
            plan,
            PlanState.INVALID,
            because=f"{plan.rounds + 1} proposals had faults; correct the plan as YAML, or ask again",
            document=proposal.model_dump(mode="json"),
            faults=faults,
        )
    else:
        propose(plan, proposal)


def gave_up(plan_id: UUID, reason: str, because: str) -> None:
    """The coordinator brought no plan: try again when its runner was lost, else a person must help."""
    plan = Plan.objects.select_related("swarm").get(pk=plan_id)
    if plan.state != PlanState.DRAFTING:
        return
    rule = RULES.get(reason, UNKNOWN)
    counts = rule.counts == Counts.FAILURE or (rule.counts == Counts.LOSS and plan.tries >= MAX_PLAN_TRIES)
    if rule.retry != Retry.NEVER and not counts:
        delay = PARKED if rule.retry == Retry.PARK else timedelta(0)
        turns.queue("plan", plan.id, priority=1000, delay=delay, parked=f"{reason}: {because}" if delay else "")
        hints.dispatch()
        return
    move(plan, PlanState.INVALID, because=f"The coordinator brought no plan ({reason}): {because}", faults=[because])


def give(swarm: Swarm, text: str, *, by: User) -> Plan:
    """A plan given by a person. Raises PlanFaults, and then nothing changes."""
    proposal = read_yaml(text)
    if faults := graph.faults(proposal, max_nodes=swarm.project.max_nodes):
        raise PlanFaults(faults)
    version = _supersede(swarm)
    plan = Plan.objects.create(swarm=swarm, version=version, source="yaml", created_by=by)
    propose(plan, proposal)
    return plan


def propose(plan: Plan, proposal: PlanProposal) -> None:
    """A valid plan waits to be adopted."""
    document = proposal.model_dump(mode="json")
    warnings = graph.warnings(proposal)
    swarm = plan.swarm
    move(
        plan,
        PlanState.PROPOSED,
        because=proposal.summary[:300],
        document=document,
        digest=digest(document),
        warnings=warnings,
        faults=[],
    )
    publish(
        swarm.topic,
        "plan.proposed",
        plan=str(plan.pk),
        version=plan.version,
        source=plan.source,
        nodes=[node.key for node in proposal.nodes],
        warnings=warnings,
    )
    publish(
        swarm.topic,
        "decision.made",
        by="coordinator" if plan.source == "coordinator" else f"user:{plan.created_by_id}",
        what=f"plan {plan.version} with {len(proposal.nodes)} nodes",
        why=proposal.summary,
    )
    if swarm.state == SwarmState.PLANNING:
        move(swarm, SwarmState.PROPOSED, because=f"plan {plan.version} is valid")
    if swarm.project.approve_plan:
        approvals.ask_plan(plan)
    hints.advance(swarm.id)


def adopt(swarm: Swarm, plan: Plan, *, because: str) -> None:
    """An approved plan becomes nodes and edges. In the caller's transaction, with the swarm locked."""
    if not move(plan, PlanState.APPROVED, because=because):
        return
    proposal = PlanProposal.model_validate(plan.document)
    lengths = graph.path_lengths({node.key: node.depends_on for node in proposal.nodes})
    nodes = {node.key: _node(swarm, plan, node, lengths[node.key]) for node in proposal.nodes}
    Node.objects.bulk_create(nodes.values())
    Edge.objects.bulk_create(
        Edge(parent=nodes[parent], child=nodes[node.key], condition=_condition(node, parent))
        for node in proposal.nodes
        for parent in sorted(set(node.depends_on))
    )


def _condition(node: PlanNode, parent: str) -> dict[str, Any] | None:
    found = next((condition for condition in node.when if condition.parent == parent), None)
    return {"field": found.field, "values": list(found.values), "negate": found.negate} if found else None


def _node(swarm: Swarm, plan: Plan, node: PlanNode, path_length: int) -> Node:
    return Node(
        swarm=swarm,
        plan=plan,
        key=node.key,
        title=node.title,
        role=node.role,
        instructions=node.instructions,
        writes=list(node.writes),
        checks=[check.model_dump() for check in node.checks],
        risk=node.risk,
        kind=node.kind,
        fan_in=node.fan_in,
        on_failure=node.on_failure,
        compensate=node.compensate,
        time_limit=node.minutes and node.minutes * 60,
        parents=len(set(node.depends_on)),
        deps_left=len(set(node.depends_on)),
        priority=node.priority,
        path_length=path_length,
        max_attempts=swarm.project.max_attempts,
        state=NodeState.BLOCKED,
    )


def reject(swarm: Swarm, plan: Plan, *, because: str) -> None:
    """A person said no: the coordinator tries again and knows why."""
    if move(plan, PlanState.REJECTED, because=because):
        move(swarm, SwarmState.PLANNING, because=f"plan {plan.version} was rejected: {because}")
        draft(swarm, note=because)
