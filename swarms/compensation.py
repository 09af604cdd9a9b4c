"""What of a swarm can be undone, read from its rows."""

from collections.abc import Iterable
from typing import Any

from django.db.models import QuerySet

from swarms.models import CheckRun, Edge, Merge, Node, Swarm
from swarms.states import CheckRunState, MergeState, NodeState
from swarms.undo import Done, Standing, Step, steps


def effects(swarm: Swarm) -> list[Node]:
    """Nodes that succeeded, and whose effects outside git are not undone."""
    done = swarm.nodes.filter(state=NodeState.SUCCEEDED, undoes=None).exclude(compensate="")
    return list(done.exclude(undone_by__kind="undo").order_by("key"))


def unfinished(swarm: Swarm) -> QuerySet[Node]:
    """Nodes of an earlier rollback that did not succeed."""
    ended = [NodeState.FAILED, NodeState.SKIPPED, NodeState.CANCELLED]
    return swarm.nodes.exclude(undoes=None).filter(state__in=ended)


def merged(swarm: Swarm) -> list[Merge]:
    """Merges of the work of its plan, in their order; without those that are taken back, or take others back."""
    found = swarm.merges.filter(state=MergeState.MERGED, attempt__node__undoes=None)
    found = found.exclude(attempt__node__undone_by__kind__in=["revert", "agent"])
    return list(found.select_related("attempt__node").order_by("ended_at", "pk"))


def takes_back(swarm: Swarm) -> bool:
    """Whether nodes of a rollback take back merges that landed, so that their result must land."""
    return swarm.nodes.exclude(undoes=None).exclude(kind="undo").exists()


def standing(swarm: Swarm) -> Standing | None:
    """How far its rollback has come; None when none has begun."""
    found = list(swarm.nodes.exclude(undoes=None).order_by("ended_at", "key").values_list("key", "kind", "state"))
    if not found:
        return None
    succeeded = [(key, kind) for key, kind, state in found if state == NodeState.SUCCEEDED]
    return Standing(
        done=tuple(key for key, kind in succeeded if kind == "undo"),
        on_branch=tuple(key for key, kind in succeeded if kind != "undo"),
        left=tuple(sorted(key for key, _, state in found if state != NodeState.SUCCEEDED)),
    )


def scope(swarm: Swarm) -> list[Step]:
    """The steps of a rollback that has not begun: effects outside git, and what landed. Empty: nothing to undo."""
    places = {merge.attempt.node.key: place for place, merge in enumerate(merged(swarm)) if swarm.landed_commit}
    with_effects = {node.key for node in effects(swarm)}
    done = [
        Done(key, compensates=key in with_effects, merged=places.get(key))
        for key in sorted(with_effects | places.keys())
    ]
    if not done:
        return []
    depends_on: dict[str, list[str]] = {}
    for parent, child in Edge.objects.filter(child__swarm=swarm).values_list("parent__key", "child__key"):
        depends_on.setdefault(child, []).append(parent)
    return steps(done, depends_on, set(swarm.nodes.values_list("key", flat=True)))


def subject(swarm: Swarm) -> dict[str, Any]:
    """What exactly a person decides about a rollback."""
    undone = {node.key: node for node in swarm.nodes.filter(undoes=None)}
    left = unfinished(swarm).select_related("undoes").order_by("key")
    again = [Step(node.key, node.kind, node.undoes.key) for node in left if node.undoes]
    return {
        "swarm": str(swarm.pk),
        "state": swarm.state,
        "commit": swarm.landed_commit,
        "base": swarm.base_commit,
        "branch": swarm.project.target_branch,
        "steps": [
            {
                "key": step.key,
                "kind": step.kind,
                "undoes": step.undoes,
                "title": undone[step.undoes].title,
                "how": undone[step.undoes].compensate if step.kind == "undo" else "",
            }
            for step in again + scope(swarm)
        ],
    }


def base(swarm: Swarm) -> str:
    """What the result of a swarm is compared with: where it began, or where its rollback began to take back."""
    if swarm.undoes:
        reverts = swarm.merges.filter(state=MergeState.MERGED).exclude(attempt__node__undoes=None)
        first = reverts.order_by("ended_at", "pk").first()
        return first.onto if first else swarm.landed_commit
    return swarm.base_commit


def required(swarm: Swarm, wanted: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of the project's checks those that must pass while work is taken back.

    What failed on the target branch before the swarm began would fail again, for no fault of the rollback.
    """
    before = CheckRun.objects.filter(swarm=swarm, purpose="before", state=CheckRunState.FAILED).first()
    failed = {result["command"] for result in before.results if result["exit_code"] != 0} if before else set()
    return [check for check in wanted if check["command"] not in failed]
