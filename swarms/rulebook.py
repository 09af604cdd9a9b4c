"""A team's rules for its agents' tools, read in their order."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import Q, QuerySet

from swarms.models import Project, Swarm, ToolRule
from swarms.policy import rules
from swarms.policy.rules import Call, Judgement, Rule


def holding() -> QuerySet[ToolRule]:
    """All rules that are not revoked, in their order."""
    return ToolRule.objects.filter(revoked_at=None).order_by("position", "pk")


def of_project(project: Project | None) -> QuerySet[ToolRule]:
    """The rules that may decide in a project, in their order; without one: those that hold in all."""
    return holding().filter(Q(project=None) | Q(project=project) if project else Q(project=None))


def of_swarm(swarm: Swarm) -> list[Rule]:
    """The rules that may decide in a swarm, as deciding takes them."""
    found = holding().filter(Q(project=None) | Q(project=swarm.project_id), Q(swarm=None) | Q(swarm=swarm))
    return [rule.pure for rule in found]


def call_in(swarm: Swarm, role: str, tool: str = "", arguments: Mapping[str, Any] | None = None, **more: Any) -> Call:
    """A call of an agent of that role in a swarm."""
    return Call(tool, arguments or {}, role, str(swarm.project_id), str(swarm.pk), **more)


def unasked(swarm: Swarm, role: str, *, sandboxed: bool) -> tuple[str, ...]:
    """Tools that an agent needs not ask about, whatever it does with them in its workspace."""
    return rules.unasked(of_swarm(swarm), call_in(swarm, role, sandboxed=sandboxed))


def try_out(
    project: Project | None, role: str, tool: str, arguments: Mapping[str, Any], *, sandboxed: bool = True
) -> Judgement:
    """What would be decided of a call, in no swarm in particular."""
    call = Call(tool, arguments, role, str(project.pk) if project else "", sandboxed=sandboxed)
    return rules.judge(_pure(of_project(project)), call)


def _pure(rows: QuerySet[ToolRule]) -> Sequence[Rule]:
    return [row.pure for row in rows]
