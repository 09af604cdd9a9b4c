"""Changing the plan of a running swarm, where nothing ran: ask, propose, adopt."""

from typing import NamedTuple

from django.core.exceptions import ValidationError
from django.db import transaction

from agents.contracts import PlanProposal
from sessions.events import SYSTEM, acting, publish
from sessions.transitions import move
from swarms import admission, amend, approvals, nested, plan_rows, planner, versions
from swarms.amend import Answer
from swarms.models import Plan, Swarm
from swarms.plan_yaml import PlanFaults, annotated, read_yaml
from swarms.refusals import NotNow
from swarms.states import ApprovalState, PlanState, SwarmState
from tenants.models import User


def change(swarm: Swarm, text: str, *, by: User | None) -> Plan:
    """Propose another plan for a running swarm, as YAML; `by` is None for the operator. Raises PlanFaults or NotNow."""
    proposal = read_yaml(text)
    with transaction.atomic(), acting(f"user:{by.pk}" if by else SYSTEM):
        return planner.version_of(_running(swarm), proposal, by=by)


def ask(swarm: Swarm, note: str, *, by: User | None) -> Plan:
    """Ask the coordinator to change the plan of a running swarm. Raises NotNow, or ValidationError without a note."""
    if not note.strip():
        raise ValidationError("Say what should be different: the coordinator sees the plan and what is done.")
    with transaction.atomic(), acting(f"user:{by.pk}" if by else SYSTEM):
        return planner.draft(_running(swarm), note=note)


def _running(swarm: Swarm) -> Swarm:
    locked = (
        Swarm.objects.select_for_update(no_key=True, of=("self",))
        .select_related("project", "goal__created_by")
        .get(pk=swarm.pk)
    )
    if locked.state not in versions.AMENDABLE:
        state = locked.state.replace("_", " ")
        raise NotNow(f"The swarm is {state}; its plan can be changed only while it is running or paused.")
    return locked


def current(swarm: Swarm) -> PlanProposal:
    """The plan as it is carried out now, with everything that was changed and detailed."""
    main = plan_rows.main_plan(swarm)
    document = main.document if main and main.document else {"summary": "", "acceptance": []}
    nodes = [one.node.model_dump() for one in plan_rows.present(swarm)]
    return PlanProposal.model_validate(
        {"summary": document["summary"], "acceptance": document["acceptance"], "nodes": nodes}
    )


def written(swarm: Swarm) -> str:
    """The plan as it is carried out now, as YAML for a person to edit; comments tell what can no longer be changed."""
    notes = {one.node.key: f"{one.begun}: stays as it is" for one in plan_rows.present(swarm) if one.begun}
    return annotated(current(swarm), notes)


class Looked(NamedTuple):
    """What a plan would change, how nodes are written now and then, and what is worth a look in it."""

    changes: dict[str, list[str]]
    rewritten: list[amend.Rewritten]
    warnings: list[str]


def look(swarm: Swarm, text: str) -> Looked:
    """Look at what a plan would do; nothing is proposed. Raises PlanFaults."""
    proposal = read_yaml(text)
    plan = Plan(swarm=swarm, source="yaml", amends=plan_rows.main_plan(swarm))
    if faults := versions.faults(plan, proposal):
        raise PlanFaults(faults)
    rewritten = amend.rewritten(plan_rows.present(swarm), proposal)
    return Looked(versions.changes(plan, proposal).summary, rewritten, versions.warnings(plan, proposal))


def open_changes(swarm: Swarm) -> list[Plan]:
    """Changes that somebody writes or that wait for an answer, the oldest first."""
    waiting = swarm.plans.filter(state__in=(PlanState.DRAFTING, PlanState.PROPOSED), amends__isnull=False)
    return list(
        waiting.select_related("swarm__project", "swarm__goal__created_by", "created_by", "node").order_by("version")
    )


class Attended(NamedTuple):
    """What became of the changes that were open."""

    acted: bool = False
    has_no_room: bool = False
    """A node is detailed, and its team may not have its nodes yet: look again later."""


def attend(swarm: Swarm) -> Attended:
    """Act on what was proposed and what was answered. With the swarm locked."""
    if swarm.state not in (*versions.AMENDABLE, SwarmState.DRAINING):
        return Attended()
    found = []
    for plan in open_changes(swarm):
        plan.swarm = swarm
        if plan.state == PlanState.PROPOSED:
            found.append(_attend(plan))
    return Attended(any(one.acted for one in found), any(one.has_no_room for one in found))


def keep(swarm: Swarm, *, because: str) -> None:
    """The plan stays as it is: changes of it that are open have no future. Nodes that are detailed go on."""
    for plan in open_changes(swarm):
        if plan.node is None:
            versions.supersede(plan, because)


def no_room(plan: Plan) -> str:
    """Why the part that a node was detailed into must wait; empty: it need not.

    What is drained gets its nodes in any case: they are left out at once.
    """
    return "" if plan.swarm.state == SwarmState.DRAINING else admission.why_not_adopt(plan)


def _attend(plan: Plan) -> Attended:
    gate = plan.approvals.order_by("-requested_at").first()
    said = gate.because if gate else ""
    # Nobody is waited for about what is left out at once.
    is_open = gate is None or gate.state in (ApprovalState.PENDING, ApprovalState.VOID)
    is_left_out = is_open and plan.node is not None and plan.swarm.state == SwarmState.DRAINING
    asks = plan.swarm.project.approve_plan and not is_left_out
    answer = amend.answer(needs_approval=asks, approval=gate.state if gate else "")
    match answer:
        case Answer.WAIT:
            return Attended()
        case Answer.ADOPT if plan.node and no_room(plan):
            return Attended(has_no_room=True)
        case Answer.ASK:
            approvals.ask_plan(plan)
        case Answer.ADOPT:
            why = "it was approved" if gate else "nobody has to approve plans of this project"
            adopt(plan, because="the swarm is drained: nothing of it starts" if is_left_out else said or why)
        case Answer.REJECT:
            reject(plan, because=said or f"its approval was {gate.state if gate else 'void'}")
    publish(
        plan.event_subject,
        "decision.made",
        by="engine",
        what=f"{answer} plan {plan.version}",
        why=plan.because,
        node="",
    )
    return Attended(acted=True)


def adopt(plan: Plan, *, because: str) -> bool:
    """The change takes effect, if it still can; else it becomes invalid and nothing changes. With the swarm locked."""
    swarm = plan.swarm
    kept = PlanProposal.model_validate(plan.document)
    faults = versions.late_faults(plan, kept)
    if not faults and plan.node is None and (full := admission.why_not_adopt(plan)):
        faults = [full]
    if faults:
        move(plan, PlanState.INVALID, because=f"it can no longer be carried out: {faults[0]}"[:300], faults=faults)
        versions.close(plan, "the swarm went on meanwhile")
        if plan.node:
            nested.failed(plan, "invalid_output", plan.because, faults)
        return False
    changes = versions.changes(plan, kept)
    before = plan_rows.main_plan(swarm)
    if not move(plan, PlanState.APPROVED, because=because):
        return False
    approvals.void(swarm, because=because, plan=plan)
    if before and plan.node is None:
        move(before, PlanState.SUPERSEDED, because=f"plan {plan.version} takes its place")
    plan_rows.apply(swarm, plan, changes, under=plan.node)
    if plan.node:
        nested.succeeded(plan, kept)
    return True


def reject(plan: Plan, *, because: str) -> None:
    """A person said no: the swarm goes on as before; a node that is to be detailed is planned again."""
    if move(plan, PlanState.REJECTED, because=because) and plan.node:
        nested.failed(plan, "changes_requested", f"its plan was rejected: {because}", [because])
