"""What an agent is told: short, structured, and all that it needs."""

from collections.abc import Iterable, Sequence
from typing import Any

from agents import steering
from agents.contracts import AnswerAsked, PlanProposal
from swarms import answering, awareness, plan_rows
from swarms.amend import Present
from swarms.models import Attempt, Node, Swarm
from swarms.plan_yaml import write_yaml
from swarms.states import NodeState

MOST_SAID, SAID_LENGTH = 10, 500
"""Words of people to the attempt before: how many, and characters of each."""


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
        + _limits(project.max_nodes, project.max_depth)
    )


def _limits(nodes: int, depth: int) -> str:
    nesting = f" Nodes of kind plan: at most {depth} deep." if depth > 0 else " No nodes of kind plan."
    return f"\n\n## Limits\nAt most {nodes} nodes. Roles: developer, writer, reviewer.{nesting}"


def for_change(swarm: Swarm, files: Sequence[str], *, note: str = "") -> str:
    """The coordinator's briefing when the plan of a running swarm is to be changed."""
    now = plan_rows.present(swarm)
    open_nodes = {one.node.key: one.node for one in now if not one.begun}
    rest = PlanProposal(summary="", nodes=tuple(open_nodes.values())).model_dump(mode="json")["nodes"]
    project = swarm.project
    return (
        f"# Change the plan of a running swarm\n"
        f"Project {project.slug} · Branch {project.target_branch} · Goal #{swarm.number}"
        f"\n\n## Goal\n{swarm.goal.text.strip()}"
        f"\n\n## What shall change\n{note}"
        + _list("Begun or done: these stay as they are, leave them out of your plan", _states(swarm, now))
        + f"\n\n## Not begun: keep, rewrite, rewire or leave out each of them\n```yaml\n{write_yaml(rest)}```"
        + _list("Files in the repository", files)
        + _checks("Checks of the project", [*project.checks, *project.acceptance])
        + _limits(project.max_nodes, project.max_depth)
        + "\nKeep the key of a node that goes on. New nodes may depend on nodes that have begun, not the reverse."
    )


def _states(swarm: Swarm, now: Sequence[Present]) -> list[str]:
    summaries = dict(swarm.nodes.exclude(summary="").values_list("key", "summary"))
    return [
        f"`{one.node.key}` {one.node.title} ({one.begun})"
        + "".join(f" · asked for `{asked.name}`: {asked.takes}" for asked in one.node.answers)
        + (f": {summaries[one.node.key]}" if one.node.key in summaries else "")
        for one in now
        if one.begun
    ]


def for_part(node: Node, files: Sequence[str], *, number: int, last: Attempt | None) -> str:
    """The coordinator's briefing for a node that it is to detail into a plan of its own."""
    swarm, project = node.swarm, node.swarm.project
    now = plan_rows.present(swarm)
    rest = (f"`{one.node.key}` {one.node.title}" for one in now if not one.begun and one.node.key != node.key)
    text = (
        f"# Plan a part: `{node.key}` {node.title}\n"
        f"Project {project.slug} · Branch {project.target_branch} · Goal #{swarm.number} · Attempt {number}"
        f"\n\n## Goal of the whole\n{swarm.goal.text.strip()}"
        f"\n\n## Your part\n{node.instructions.strip()}"
        + _list("Begun or done", _states(swarm, [one for one in now if one.node.key != node.key]))
        + _list("Planned by others: leave it to them", rest)
        + _list("Files in the repository", files)
        + _checks("Checks of the project", [*project.checks, *project.acceptance])
        + _limits(max(project.max_nodes - len(now), 0), max(project.max_depth - node.depth - 1, 0))
        + "\nPlan your part only. Its first nodes need no depends_on: what came before your part is done."
    )
    return text + _why_again(last) + _said_before(last)


def for_node(node: Node, *, number: int, last: Attempt | None) -> str:
    """A worker's or reviewer's briefing for its attempt `number`; `last` is the attempt before."""
    swarm = node.swarm
    parents = Node.objects.filter(edges_out__child=node).order_by("key")
    text = (
        f"# Node `{node.key}`: {node.title}\n"
        f"Role: {node.role} · Attempt {number} · Swarm {swarm.project.slug} #{swarm.number}"
        f"\n\n## Goal\n{swarm.goal.text.strip()}"
        f"\n\n## Your part\n{node.instructions.strip()}"
        + _list("You may change", (f"`{glob}`" for glob in node.writes))
        + _checks("Checks that the control plane runs on your commit", node.checks or swarm.project.checks)
        + _list("Answer at the end, in `answers`", map(_asked, answering.asked(node)))
        + _list("Done before you", (_done(parent) for parent in parents if parent.state == NodeState.SUCCEEDED))
        + _list("At work beside you", awareness.beside(swarm.pk, node=node.pk))
    )
    return text + _why_again(last) + _said_before(last)


def _asked(answer: AnswerAsked) -> str:
    return f"`{answer.name}` ({answer.takes}): {answer.asks}"


def _done(node: Node) -> str:
    given = "".join(f" · {name}: {value}" for name, value in answering.of(node).items())
    return f"`{node.key}` {node.title}: {node.summary or 'no summary'}{given}"


def _said_before(last: Attempt | None) -> str:
    """What people said to the agent of the attempt before, which the next one has not heard."""
    if last is None or last.execution is None:
        return ""
    said = [f"{steer.name}: {_one_line(steer.text)}" for steer in steering.said_to(last.execution)]
    return _list("What people said to the agent of the attempt before", said[-MOST_SAID:])


def _one_line(text: str) -> str:
    return " ".join(text.split())[:SAID_LENGTH]


def _why_again(last: Attempt | None) -> str:
    if last is None:
        return ""
    return f"\n\n## Why there is another attempt\nReason: {last.reason}\n\n{last.evidence or last.because}"
