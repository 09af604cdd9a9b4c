"""What an agent is told: short, structured, and all that it needs."""

from collections.abc import Iterable, Sequence
from typing import Any

from swarms.models import Attempt, Node, Swarm
from swarms.states import NODE_LIVE, NodeState


def _list(title: str, lines: Iterable[str]) -> str:
    rows = "\n".join(f"- {line}" for line in lines)
    return f"\n\n## {title}\n{rows}" if rows else ""


def _checks(title: str, checks: Iterable[dict[str, Any]]) -> str:
    return _list(title, (f"{check['name']}: `{check['command']}`" for check in checks))


def for_plan(swarm: Swarm, files: Sequence[str], *, note: str = "") -> str:
    """The coordinator's briefing."""
    project = swarm.project
    return (
        f"# Plan a goal\nProject {project.slug} · Branch {project.target_branch} · Goal #{swarm.number}"
        f"\n\n## Goal\n{swarm.goal.text.strip()}"
        + _list("Files in the repository", files)
        + _checks("Checks of the project", [*project.checks, *project.acceptance])
        + (f"\n\n## What a person says about the last plan\n{note}" if note else "")
        + f"\n\n## Limits\nAt most {project.max_nodes} nodes. Roles: developer, writer, reviewer."
    )


def for_node(node: Node, *, number: int, last: Attempt | None) -> str:
    """A worker's or reviewer's briefing for its attempt `number`; `last` is the attempt before."""
    swarm = node.swarm
    parents = Node.objects.filter(edges_out__child=node).order_by("key")
    beside = Node.objects.filter(swarm=swarm, state__in=NODE_LIVE).exclude(pk=node.pk).order_by("key")
    text = (
        f"# Node `{node.key}`: {node.title}\n"
        f"Role: {node.role} · Attempt {number} · Swarm {swarm.project.slug} #{swarm.number}"
        f"\n\n## Goal\n{swarm.goal.text.strip()}"
        f"\n\n## Your part\n{node.instructions.strip()}"
        + _list("You may change", (f"`{glob}`" for glob in node.writes))
        + _checks("Checks that the control plane runs on your commit", node.checks or swarm.project.checks)
        + _list(
            "Done before you",
            (f"`{p.key}` {p.title}: {p.summary or 'no summary'}" for p in parents if p.state == NodeState.SUCCEEDED),
        )
        + _list(
            "At work beside you",
            (f"`{b.key}` {b.title}, writes {', '.join(f'`{glob}`' for glob in b.writes) or 'nothing'}" for b in beside),
        )
    )
    if last is not None:
        text += f"\n\n## Why there is another attempt\nReason: {last.reason}\n\n{last.evidence or last.because}"
    return text
