"""Who is at work in a swarm, on what, and what they write: for people, for the briefings of others, for who asks.

What an agent writes is what it has said so far: the calls of its tools. Few queries, however many agents there are.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Q
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Coalesce

from agents.models import Execution
from agents.states import LIVE
from sessions.models import Part
from swarms.models import Attempt, Node
from swarms.states import NODE_LIVE

MOST_AGENTS, MOST_PATHS = 20, 8
"""How much of it is told."""
MOST_CALLS = 1_000
"""The last calls of tools that are looked at."""
WRITING = ("write_file", "edit_file", "write", "edit", "multiedit", "create")
"""Tools that write the file that they are given, by their names in the runtimes that we know."""
_PATH = Coalesce(*(KeyTextTransform(name, "input") for name in ("path", "filePath", "file_path")))


@dataclass(frozen=True)
class AtWork:
    """An agent at work."""

    execution: Execution
    node: str = ""
    """The key of its node; none for the coordinator's plan of the whole."""
    title: str = ""
    declared: tuple[str, ...] = ()
    """What its node may write."""
    written: tuple[str, ...] = ()
    """What it has written, the last first."""
    more: int = 0
    """So many paths more."""

    @property
    def doing(self) -> str:
        """In one line."""
        return self.execution.session.doing or "starting"


def at_work(swarm: UUID, *, but: UUID | None = None) -> list[AtWork]:
    """The agents at work in a swarm, who began first comes first; `but`: without this execution."""
    live = Execution.objects.filter(swarm=swarm, state__in=LIVE).exclude(kind="check").select_related("session")
    found = list((live.exclude(pk=but) if but else live).order_by("created_at"))
    attempts = Attempt.objects.filter(execution__in=found).select_related("node")
    nodes = {attempt.execution_id: attempt.node for attempt in attempts}
    written = _written([execution.session_id for execution in found])
    return [_seen(execution, nodes.get(execution.pk), written.get(execution.session_id, [])) for execution in found]


def _seen(execution: Execution, node: Node | None, written: list[str]) -> AtWork:
    return AtWork(
        execution=execution,
        node=node.key if node else "",
        title=node.title if node else execution.session.title,
        declared=tuple(node.writes) if node else (),
        written=tuple(written[:MOST_PATHS]),
        more=max(0, len(written) - MOST_PATHS),
    )


def _written(sessions: list[UUID]) -> dict[UUID, list[str]]:
    """The paths that were written in each session, each once, the last first."""
    found: dict[UUID, dict[str, None]] = {}
    if sessions:
        calls = Part.objects.filter(~Q(state="failed"), kind="tool", tool__in=WRITING, message__session__in=sessions)
        rows = calls.annotate(path=_PATH).order_by("-created_at").values_list("message__session", "path")
        for session, path in rows[:MOST_CALLS]:
            if path:
                found.setdefault(session, {}).setdefault(path[:200])
    return {session: list(paths) for session, paths in found.items()}


def beside(swarm: UUID, *, node: UUID | None = None, but: UUID | None = None) -> list[str]:
    """What one agent is told of the others, a line each: nodes under way, who does what in them, and what they write.

    `node` is its own node, `but` its own execution.
    """
    agents = {one.node: one for one in at_work(swarm, but=but)}
    live = Node.objects.filter(swarm=swarm, state__in=NODE_LIVE).order_by("key")
    nodes = list(live.exclude(pk=node) if node else live)
    lines = [_line(one, agents.get(one.key)) for one in nodes[:MOST_AGENTS]]
    if len(nodes) > MOST_AGENTS:
        lines.append(f"and {len(nodes) - MOST_AGENTS} nodes more")
    return lines


def _line(node: Node, agent: AtWork | None) -> str:
    text = f"`{node.key}` {node.title}, writes {_paths(node.writes) or 'nothing'}"
    if agent is None:
        return text
    more = f" and {agent.more} paths more" if agent.more else ""
    written = f"; has written {_paths(agent.written)}{more}" if agent.written else ""
    return f"{text}; {agent.execution.agent} now: {agent.doing}{written}"


def _paths(paths: Iterable[str]) -> str:
    return ", ".join(f"`{path}`" for path in list(paths)[:MOST_PATHS])
