"""Asking a person, and what the answer does."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from agents.models import Execution
from sessions.events import acting, publish
from sessions.transitions import move
from swarms import admission, budgets, compensation, exposure, hints, toolrules
from swarms.digests import digest
from swarms.models import Approval, Node, Plan, Swarm
from swarms.states import ApprovalState
from tenants import turns
from tenants.faults import crash_point
from tenants.models import Membership, User
from tenants.roles import Permission, may

LIFE = timedelta(days=7)


class NotDecidable(Exception):
    """The approval cannot be decided (so), in words for the person who tried."""


class NotTheirs(NotDecidable):
    """Others may, this person may not."""


class NoAnswer(NotDecidable):
    """What was said is no answer to this question."""


def ask_plan(plan: Plan) -> Approval:
    """Ask for the approval of exactly this plan."""
    return _ask(
        plan.swarm,
        kind="plan",
        title=f"Plan {plan.version} of {plan.swarm}",
        subject=_plan(plan),
        plan=plan,
        node=plan.node,
        requested_by=plan.created_by or plan.swarm.goal.created_by,
    )


def _plan(plan: Plan) -> dict[str, Any]:
    whole = {"plan": str(plan.pk), "version": plan.version, "digest": plan.digest, "document": plan.document}
    return whole if plan.changes is None else whole | {"changes": plan.changes}


def ask_node(node: Node) -> Approval:
    """Ask whether a risky node may start."""
    return _ask(node.swarm, kind="node", title=f"Start {node.key} of {node.swarm}", subject=_node(node), node=node)


def _node(node: Node) -> dict[str, Any]:
    told = {
        "node": str(node.pk),
        "key": node.key,
        "title": node.title,
        "instructions": node.instructions,
        "writes": node.writes,
        "checks": node.checks,
    }
    return told | {"trifecta": True} if node.trifecta else told


def ask_landing(swarm: Swarm, reviews: list[dict[str, Any]]) -> Approval:
    """Ask whether exactly this commit may land."""
    title = f"Land the rollback of {swarm}" if swarm.undoes else f"Land {swarm}"
    return _ask(swarm, kind="landing", title=title, subject=_landing(swarm) | {"reviews": reviews})


def ask_rollback(swarm: Swarm, *, by: User | None) -> Approval:
    """Ask whether exactly what landed, and had effects, is undone."""
    return _ask(
        swarm, kind="rollback", title=f"Roll back {swarm}", subject=compensation.subject(swarm), requested_by=by
    )


def ask_budget(swarm: Swarm, subject: dict[str, Any], *, node: Node | None = None) -> Approval:
    """Ask whether exactly this budget gets exactly this limit."""
    title = f"Raise the budget of {budgets.title(subject['budget'])}"
    return _ask(swarm, kind="budget", title=title[:200], subject=subject, node=node)


def ask_unconfined(swarm: Swarm, place: str) -> Approval:
    """Ask whether a swarm's coordinator and checks may work where nothing locks them in."""
    title = f"Plan and check {swarm} where nothing locks that in"
    return _ask(swarm, kind="unconfined", title=title[:200], subject={"swarm": str(swarm.pk), "place": place})


def ask_tool(
    swarm: Swarm, execution: Execution, subject: dict[str, Any], *, node: Node | None, life: timedelta
) -> Approval:
    """Ask whether an agent may use a tool in exactly this way."""
    what = next(
        (str(subject["arguments"][name]) for name in ("command", "path", "url") if name in subject["arguments"]), ""
    )
    title = f"{execution.agent} wants to use {subject['tool']}" + (f": {' '.join(what.split())}" if what else "")
    words: dict[str, Any] = {"node": node, "execution": execution, "call": subject["call"], "life": life}
    return _ask(swarm, kind="tool", title=title if len(title) <= 200 else f"{title[:199]}…", subject=subject, **words)


def _landing(swarm: Swarm) -> dict[str, Any]:
    return {
        "swarm": str(swarm.pk),
        "base": compensation.base(swarm),
        "commit": swarm.integration_commit,
        "branch": swarm.project.target_branch,
    }


def _ask(
    swarm: Swarm, *, kind: str, title: str, subject: dict[str, Any], life: timedelta = LIFE, **fields: Any
) -> Approval:
    fields.setdefault("requested_by", swarm.goal.created_by)
    fields.setdefault("four_eyes", swarm.project.four_eyes)
    approval = Approval.objects.create(
        swarm=swarm,
        kind=kind,
        title=title,
        subject=subject,
        digest=digest(subject),
        expires_at=timezone.now() + life,
        **fields,
    )
    turns.due("approval", approval.id, after=life)
    publish(
        swarm.topic,
        "approval.asked",
        approval=str(approval.pk),
        kind=kind,
        title=title,
        node=approval.node.key if approval.node else "",
    )
    return approval


def current_subject(approval: Approval) -> dict[str, Any]:
    """What a decision would be about if it were asked for now."""
    if approval.kind == "plan" and approval.plan:
        return _plan(approval.plan)
    if approval.kind == "node" and approval.node:
        return _node(approval.node)
    if approval.kind == "budget":
        return budgets.current(approval.subject)
    if approval.kind in ("tool", "unconfined"):
        return approval.subject
    if approval.kind == "rollback":
        return compensation.subject(approval.swarm)
    return _landing(approval.swarm) | {"reviews": approval.subject.get("reviews", [])}


def approve(approval: Approval, *, by: User, because: str = "", life: str = "once") -> None:
    """Say yes to exactly what was asked; of a tool's use with `life` for how long: once, swarm or always.

    Raises NotDecidable.
    """
    _decide(approval, ApprovalState.APPROVED, by=by, because=because, life=life)


def reject(approval: Approval, *, by: User, because: str) -> None:
    """Say no, with the reason. Raises NotDecidable."""
    if not because.strip():
        raise NoAnswer("Say why: the reason goes to those who work on it.")
    _decide(approval, ApprovalState.REJECTED, by=by, because=because)


def _member(approval: Approval, by: User, life: str) -> Membership:
    """Who decides, who may. Raises NotDecidable."""
    member = Membership.objects.filter(team=turns.current_team_id(), user=by).first()
    if member is None or not may(member.role, Permission.APPROVE):
        raise NotTheirs("Your role may not decide approvals; ask an owner, admin or approver of the team.")
    if life not in ("once", "swarm", "always") or (approval.kind != "tool" and life != "once"):
        raise NoAnswer("Only the use of a tool is allowed for longer than once: for the swarm, or always.")
    if life == "always" and not may(member.role, Permission.POLICY):
        raise NotTheirs("Your role may allow it once or for this swarm; rules that stay are for owners and admins.")
    return member


def _decide(approval: Approval, verdict: str, *, by: User, because: str, life: str = "once") -> None:
    member = _member(approval, by, life)
    changed = ""
    with transaction.atomic(), acting(f"user:{by.pk}"):
        swarm = Swarm.objects.select_for_update(no_key=True, of=("self",)).get(pk=approval.swarm_id)
        fresh = Approval.objects.select_related("swarm__project", "plan", "node", "decided_by").get(pk=approval.pk)
        if fresh.state != ApprovalState.PENDING:
            raise NotDecidable(already(fresh))
        if fresh.four_eyes and fresh.requested_by_id == by.pk:
            raise NotTheirs("You asked for this approval; somebody else must decide it (four eyes).")
        if fresh.expires_at <= timezone.now():
            raise NotDecidable("This approval has expired.")
        if digest(current_subject(fresh)) != fresh.digest:
            changed = "What was asked about has changed since; the approval is void, and a new one is asked for."
            _void(fresh, because="its subject changed")
        elif fresh.plan and verdict == ApprovalState.APPROVED and (full := _no_room(fresh.plan)):
            raise NotDecidable(full)
        elif move(fresh, verdict, because=because, decided_by=by, decided_at=timezone.now()):
            turns.settled("approval", fresh.pk)
            publish(
                fresh.event_subject,
                "approval.decided",
                approval=str(fresh.pk),
                kind=fresh.kind,
                title=fresh.title,
                verdict=verdict,
                by=str(by),
                automatic=member.is_automatic,
                because=because,
            )
            if fresh.kind == "budget":
                budgets.decided(fresh)
            if fresh.kind == "unconfined":
                exposure.wake()
            if fresh.kind == "tool" and verdict == ApprovalState.APPROVED:
                toolrules.answer(fresh, life, by=by)
            crash_point("approval.deciding")
        hints.advance(swarm.pk)
    if changed:
        raise NotDecidable(changed)


def _no_room(plan: Plan) -> str:
    """Why the nodes of a plan cannot be added now; empty: they can. (It can still be rejected.)"""
    return admission.why_not(admission.brought_by(plan, len((plan.document or {}).get("nodes", []))))


def already(approval: Approval) -> str:
    """Who decided a settled approval, and when, in one sentence."""
    if approval.decided_by:
        when = f"{approval.decided_at:%Y-%m-%d %H:%M} UTC"
        return f"Already {approval.state} by {approval.decided_by} at {when}."
    return f"Nothing to decide: the approval is {approval.state} ({approval.because or 'no reason given'})."


def void_calls(execution: UUID) -> None:
    """Nobody waits any more for what an execution asked about its tools. With the swarm locked."""
    for approval in Approval.objects.filter(execution=execution, state=ApprovalState.PENDING):
        _void(approval, because="its agent has ended")


def void(
    swarm: Swarm, *, because: str, kind: str | None = None, node: Node | None = None, plan: Plan | None = None
) -> None:
    """Nobody needs these answers any more."""
    pending = Approval.objects.filter(swarm=swarm, state=ApprovalState.PENDING)
    narrowed = {"kind": kind, "node": node, "plan": plan}
    for approval in pending.filter(**{name: value for name, value in narrowed.items() if value}):
        _void(approval, because=because)


def outdated(approval: Approval) -> None:
    """What it asks about has changed. With its swarm locked."""
    _void(approval, because="its subject changed")


def _void(approval: Approval, *, because: str) -> None:
    if move(approval, ApprovalState.VOID, because=because):
        turns.settled("approval", approval.pk)


def expire(approval_id: Any) -> None:
    """The time to answer is over, if it is."""
    with transaction.atomic():
        # The swarm first, as in every change of what belongs to it.
        Swarm.objects.select_for_update(no_key=True, of=("self",)).get(approvals=approval_id)
        approval = Approval.objects.filter(pk=approval_id, expires_at__lte=Now()).first()
        if approval and approval.state == ApprovalState.PENDING:
            if move(approval, ApprovalState.EXPIRED, because="nobody decided in time"):
                turns.settled("approval", approval.pk)
                if approval.kind == "unconfined":
                    exposure.wake()
            hints.advance(approval.swarm_id)
