"""Rolling back: what succeeded is undone by nodes of their own, which run like any other node, the last first."""

from django.db import transaction
from django.utils import timezone

from sessions.events import SYSTEM, acting, publish
from sessions.transitions import move
from swarms import approvals, compensation, graph, hints, planned, progress
from swarms.models import Approval, Edge, Node, Swarm
from swarms.orders import not_archived
from swarms.refusals import NotNow
from swarms.release import OnFailure
from swarms.states import ApprovalState, NodeState, ProjectState, SwarmState
from swarms.undo import Step
from tenants import turns
from tenants.models import User

ROLLED_BACK_FROM = (SwarmState.SUCCEEDED, SwarmState.FAILED)
UNDO = """\
Undo what `{key}` ({title}) did outside the repository: the swarm is rolled back. Change no file in it.

How to undo it, as its plan says:

{how}

What `{key}` said that it did:

{summary}

Somebody may have begun to undo it before you: look first, and take back only what is still there."""
REVERT = "The control plane takes back the merge {commit} of `{key}` ({title}) on the swarm's branch."


def possible(swarm: Swarm) -> bool:
    """Whether a person may ask for a rollback now."""
    may_begin = swarm.state in ROLLED_BACK_FROM and swarm.project.state != ProjectState.ARCHIVED
    return may_begin and not _waits(swarm) and _has_something(swarm)


def _waits(swarm: Swarm) -> bool:
    return swarm.approvals.filter(kind="rollback", state=ApprovalState.PENDING).exists()


def _has_something(swarm: Swarm) -> bool:
    """Something is to be undone, or was undone and has not landed."""
    return compensation.takes_back(swarm) or compensation.unfinished(swarm).exists() or bool(compensation.scope(swarm))


def request(swarm: Swarm, *, by: User | None) -> Approval | None:
    """Ask to undo what a swarm has done: its landing, and its effects outside git. `by` is None for the operator.

    A person approves it first (the answer), unless landings need no approval in this project: then it begins at once.
    Raises NotNow, which says why it cannot be rolled back.
    """
    with transaction.atomic(), acting(f"user:{by.pk}" if by else SYSTEM):
        found = Swarm.objects.select_for_update(no_key=True, of=("self",)).select_related("project", "goal")
        locked = found.get(pk=swarm.pk)
        if locked.state not in ROLLED_BACK_FROM:
            state = locked.state.replace("_", " ")
            raise NotNow(
                f"The swarm is {state}; only one that has landed, or failed after it had effects outside git, can be "
                "rolled back."
            )
        if not _has_something(locked):
            raise NotNow("There is nothing to undo: nothing landed, and no node that succeeded says how.")
        if _waits(locked):
            raise NotNow("Its rollback waits for approval already: decide that.")
        not_archived(locked.project_id)
        if locked.project.approve_landing:
            return approvals.ask_rollback(locked, by=by)
        who = by or "the operator"
        begin(locked, because=f"{who} asked for it, and nobody has to approve landings of this project")
        hints.advance(locked.pk)
    return None


def answer(swarm: Swarm) -> str:
    """State of the last approval of a rollback that has not begun; empty when nobody was asked since."""
    if swarm.state not in ROLLED_BACK_FROM:
        return ""
    asked = swarm.approvals.filter(kind="rollback", requested_at__gte=swarm.begun_anew_at).order_by("-requested_at")
    return asked.values_list("state", flat=True).first() or ""


def begin(swarm: Swarm, *, because: str) -> None:
    """Add the nodes that undo what succeeded, and let the first ones start. With the swarm locked, in a transaction.

    A rollback that failed before goes on: what is undone stays so, the rest is tried again.
    """
    was = swarm.state
    why = f"{swarm.because}: {because}" if was == SwarmState.FAILING else because
    if not move(swarm, SwarmState.ROLLING_BACK, because=why, rollback_at=timezone.now(), ended_at=None):
        return
    turns.settled("swarm_deadline", swarm.pk)
    # Due still if who landed it died before all was tidied up: it would land this before anything is undone.
    turns.settled("land", swarm.pk)
    approvals.void(swarm, because="the swarm is rolled back", kind="rollback")
    _try_again(swarm)
    steps = compensation.scope(swarm)
    _add(swarm, steps)
    first = swarm.nodes.filter(state=NodeState.BLOCKED, deps_left=0).exclude(undoes=None)
    progress.release(swarm.pk, consider=first.values_list("pk", flat=True))
    publish(
        swarm.topic,
        "decision.made",
        by="engine",
        what="undo " + ", ".join(step.undoes for step in steps) if steps else "go on with what is not undone yet",
        why=because,
    )


def _add(swarm: Swarm, steps: list[Step]) -> None:
    """The steps become nodes and edges."""
    lengths = graph.path_lengths({step.key: step.after for step in steps})
    undone = {node.key: node for node in swarm.nodes.filter(key__in=[step.undoes for step in steps])}
    checks = compensation.required(swarm, swarm.project.checks)
    nodes = {step.key: _node(swarm, step, undone[step.undoes], checks, lengths[step.key]) for step in steps}
    Node.objects.bulk_create(nodes.values())
    Edge.objects.bulk_create(
        Edge(parent=nodes[before], child=nodes[step.key]) for step in steps for before in step.after
    )
    planned.tell(swarm, nodes.values())


def _node(swarm: Swarm, step: Step, undone: Node, checks: list[dict[str, str]], path_length: int) -> Node:
    is_undo = step.kind == "undo"
    words = {
        "key": undone.key,
        "title": undone.title,
        "how": undone.compensate,
        "summary": undone.summary or "nothing",
        "commit": undone.commit[:10],
    }
    return Node(
        swarm=swarm,
        plan_id=undone.plan_id,
        key=step.key,
        title=f"{'Undo' if is_undo else 'Revert'} {undone.title}"[:200],
        kind=step.kind,
        role="developer",
        instructions=(UNDO if is_undo else REVERT).format(**words),
        checks=[] if is_undo else checks,
        # What depends on it stays as it is; other branches of the graph are undone all the same.
        on_failure=OnFailure.SKIP_DESCENDANTS,
        undoes=undone,
        depth=undone.depth,
        parents=len(step.after),
        deps_left=len(step.after),
        path_length=path_length,
        time_limit=undone.time_limit,
        max_attempts=swarm.project.max_attempts,
    )


def _try_again(swarm: Swarm) -> None:
    """Steps of an earlier rollback that did not succeed wait again."""
    again = list(compensation.unfinished(swarm))
    for node in again:
        move(node, NodeState.BLOCKED, because="the rollback is tried again", failures=0, losses=0, ended_at=None)
    ids = [node.pk for node in again]
    Edge.objects.filter(parent__in=ids).update(resolved=None)
    for node in again:
        ended = Edge.objects.filter(child=node).exclude(resolved=None)
        Node.objects.filter(pk=node.pk).update(
            deps_left=node.parents - ended.count(), deps_ok=ended.filter(resolved=True).count()
        )
