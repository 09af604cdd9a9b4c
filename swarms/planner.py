"""From a goal to a plan: the coordinator's turn, its rounds, plans given as YAML, and nodes from an approved plan."""

from datetime import timedelta
from uuid import UUID

from agents import executions, placing
from agents.contracts import PlanProposal
from agents.models import Execution
from agents.placement import Chosen, Nobody, unwalled
from sessions.events import publish, publish_all
from sessions.transitions import move
from swarms import (
    admission,
    allowances,
    amend,
    approvals,
    briefing,
    budgets,
    confinement,
    graph,
    hints,
    plan_rows,
    planned,
    rulebook,
    versions,
)
from swarms.allowances import Denied, Parked
from swarms.digests import digest
from swarms.models import Edge, Node, Plan, Swarm
from swarms.plan_yaml import PlanFaults, read_yaml
from swarms.reasons import PARKED, RULES, UNKNOWN, Counts, Retry
from swarms.states import PlanState, SwarmState
from swarms.workspace import repos
from tenants import turns
from tenants.faults import crash_point
from tenants.models import Runner, User

ROUNDS = 3
"""Proposals that the coordinator may make before a person must help."""
MAX_PLAN_TRIES = 3
PLAN_TIME = 600.0


def draft(swarm: Swarm, *, note: str = "") -> Plan:
    """The next version of a plan, for the coordinator to write; earlier open ones are superseded."""
    version = _supersede(swarm)
    amends = plan_rows.main_plan(swarm)
    plan = Plan.objects.create(swarm=swarm, version=version, source="coordinator", because=note, amends=amends)
    turns.queue("plan", plan.id, priority=1000)
    hints.dispatch()
    return plan


def _supersede(swarm: Swarm) -> int:
    """End the open versions of the whole plan; returns the next version."""
    for plan in swarm.plans.filter(state__in=versions.PLAN_OPEN, node=None).select_related("swarm"):
        versions.supersede(plan, "a later version takes its place")
    return versions.next_version(swarm)


def begin(plan_id: UUID, runner: Runner) -> Execution | Nobody | Parked | None:
    """The coordinator's turn has come: place it, if there is an agent and money for it."""
    # The swarm first: whoever cancels it must see this execution, or this must see that.
    Swarm.objects.select_for_update(no_key=True, of=("self",)).get(plans=plan_id)
    plan = Plan.objects.select_related("swarm__project", "swarm__goal").get(pk=plan_id)
    swarm = plan.swarm
    if plan.state != PlanState.DRAFTING or swarm.state not in (
        versions.AMENDABLE if plan.amends_id else (SwarmState.PLANNING,)
    ):
        return None
    chosen = placing.chosen("coordinator", runner, swarm.goal.text, untrusted=swarm.project.untrusted_input)
    if isinstance(chosen, Nobody):
        return chosen
    held = confinement.allowed(plan, unwalled(chosen, runner.name, runner.sandbox), chosen)
    begun = held or allowances.allowed(swarm, "coordinator", lambda: _start(plan, runner, chosen))
    if not isinstance(begun, Denied):
        return begun
    move(plan, PlanState.INVALID, because=begun.because, faults=[begun.because])
    return None


def _start(plan: Plan, runner: Runner, chosen: Chosen) -> Execution:
    swarm = plan.swarm
    Plan.objects.filter(pk=plan.pk).update(tries=plan.tries + 1)
    commit = swarm.integration_commit  # before anything is merged this is where the branch began
    files = repos.file_list(swarm.project, commit)
    told = briefing.for_change if plan.amends_id else briefing.for_plan
    place = (runner.name, runner.sandbox)
    return executions.open_execution(
        kind="plan",
        subject=f"plan:{plan.id}",
        swarm=swarm.id,
        runner=runner,
        agent=chosen.name,
        chosen=chosen,
        title=f"Plan {swarm}",
        assignment={
            "role": "coordinator",
            "attempt": plan.tries + 1,
            "briefing": told(swarm, files, note=plan.because),
            "repository": {"url": str(swarm.project_id), "commit": commit},
            "unasked": rulebook.unasked(swarm, "coordinator", sandboxed=not unwalled(chosen, *place)),
            "time_limit": PLAN_TIME,
            "model_calls": swarm.project.attempt_calls,
        },
        stall_seconds=swarm.project.stall_minutes * 60,
        draws_on=budgets.subjects(swarm),
    )


def examine(plan_id: UUID, proposal: PlanProposal) -> list[str]:
    """The faults of a proposal."""
    plan = Plan.objects.select_related("swarm__project").get(pk=plan_id)
    if plan.rounds + 1 >= ROUNDS:
        # The last round: it is kept as it is, and a person sees what is wrong with it.
        return []
    return versions.faults(plan, proposal)


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
    because = f"{plan.rounds + 1} proposals had faults; correct the plan as YAML, or ask again"
    faults = versions.faults(plan, proposal)
    if not faults and (because := admission.why_not(admission.brought_by(plan, len(proposal.nodes)))):
        faults = [because]
    if faults:
        move(
            plan,
            PlanState.INVALID,
            because=because,
            document=proposal.model_dump(mode="json"),
            faults=faults,
        )
    else:
        propose(plan, proposal)
        crash_point("plan.proposing")


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
    return version_of(swarm, proposal, by=by)


def version_of(swarm: Swarm, proposal: PlanProposal, *, by: User | None) -> Plan:
    """A person's proposal as the next version, which changes the plan that is carried out, if there is one.

    Raises PlanFaults or AdmissionRefused, and then nothing changes.
    """
    plan = Plan(swarm=swarm, source="yaml", created_by=by, amends=plan_rows.main_plan(swarm))
    if faults := versions.faults(plan, proposal):
        raise PlanFaults(faults)
    admission.admit_nodes(admission.brought_by(plan, len(proposal.nodes)))
    plan.version = _supersede(swarm)
    plan.save(force_insert=True)
    propose(plan, proposal)
    return plan


def propose(plan: Plan, proposal: PlanProposal) -> None:
    """A valid plan waits to be adopted."""
    proposal = versions.completed(plan, proposal)
    changed = versions.changes(plan, proposal).summary if plan.amends_id else None
    document = proposal.model_dump(mode="json")
    warnings = versions.warnings(plan, proposal)
    swarm = plan.swarm
    move(
        plan,
        PlanState.PROPOSED,
        because=proposal.summary[:300],
        document=document,
        digest=digest(document),
        warnings=warnings,
        faults=[],
        changes=changed,
    )
    told = {
        "plan": str(plan.pk),
        "version": plan.version,
        "source": plan.source,
        "nodes": [node.key for node in proposal.nodes],
        "warnings": warnings,
        "node": plan.node.key if plan.node else "",
    }
    what = f"plan {plan.version} with {len(proposal.nodes)} nodes"
    decision = {"by": _author(plan), "what": what, "why": proposal.summary, "is_told": True}
    publish_all(swarm.topic, [("plan.proposed", told), ("decision.made", decision)])
    if swarm.state == SwarmState.PLANNING:
        move(swarm, SwarmState.PROPOSED, because=f"plan {plan.version} is valid")
    if swarm.project.approve_plan:
        approvals.ask_plan(plan)
    hints.advance(swarm.id)


def _author(plan: Plan) -> str:
    if plan.source == "coordinator":
        return "coordinator"
    return f"user:{plan.created_by_id}" if plan.created_by_id else "operator"


def adopt(swarm: Swarm, plan: Plan, *, because: str) -> list[UUID]:
    """An approved plan becomes nodes and edges; those that wait for no other. In the caller's transaction, with the
    swarm locked."""
    if not move(plan, PlanState.APPROVED, because=because):
        return []
    approvals.void(swarm, because=because, plan=plan)
    proposal = PlanProposal.model_validate(plan.document)
    lengths = graph.path_lengths({node.key: node.depends_on for node in proposal.nodes})
    nodes = {node.key: plan_rows.row(swarm, plan, node, lengths[node.key]) for node in proposal.nodes}
    Node.objects.bulk_create(nodes.values())
    plan_rows.set_budgets(nodes, proposal.nodes)
    edges = [
        Edge(parent=nodes[wire.parent], child=nodes[wire.child], condition=plan_rows.condition(wire.condition))
        for wire in amend.wires(proposal.nodes)
    ]
    Edge.objects.bulk_create(edges)
    planned.tell(swarm, nodes.values(), edges=edges)
    return [node.pk for node in nodes.values() if not node.parents]


def turn_back(swarm: Swarm, plan: Plan, *, because: str) -> None:
    """A plan that cannot be adopted now: a person gives it again later, or another one."""
    if move(plan, PlanState.INVALID, because=because, faults=[because]):
        versions.close(plan, because)
        move(swarm, SwarmState.PLANNING, because=f"plan {plan.version}: {because}")


def reject(swarm: Swarm, plan: Plan, *, because: str) -> None:
    """A person said no: the coordinator tries again and knows why."""
    if move(plan, PlanState.REJECTED, because=because):
        move(swarm, SwarmState.PLANNING, because=f"plan {plan.version} was rejected: {because}")
        draft(swarm, note=because)
