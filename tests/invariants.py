"""What must hold of a team's rows at any moment, whoever was killed; and what must hold besides when all is quiet."""

from collections.abc import Iterable, Iterator
from typing import Any

from swarms.models import Approval, CheckRun, Node, Plan, Swarm
from swarms.states import SWARM_ENDED
from swarms.verify.run import Scope, verify
from swarms.workspace import repos
from tenants.context import in_schema
from tenants.models import Due, Team, Ticket


def violations(schema: str, *, quiet: bool = False) -> list[str]:
    """Everything that is wrong in one team, in words; empty when all is well.

    `quiet` says that no hint and no due row waits any more: then nothing may be left over either.
    """
    report = verify([(schema, schema)], Scope(replay=True, git=True))
    found = [f"{each.invariant}: {each.says}" for each in report.violations]
    if quiet:
        with in_schema(schema):
            found += _leftovers(schema)
    return found


def _leftovers(schema: str) -> Iterator[str]:
    team = Team.objects.get(schema_name=schema)
    ended = {swarm.pk: str(swarm) for swarm in Swarm.objects.filter(state__in=SWARM_ENDED)}
    owners: dict[Any, Any] = {pk: pk for pk in ended}
    for model in (Node, Plan, CheckRun, Approval):
        owners |= dict(model._default_manager.filter(swarm__in=ended).values_list("pk", "swarm"))
    yield from _of_ended("a ticket", Ticket.objects.filter(team=team), owners, ended)
    yield from _of_ended("something due", Due.objects.filter(team=team), owners, ended)
    for swarm in Swarm.objects.exclude(state="planning").select_related("project"):
        if not swarm.merges.filter(state="merged").exists():
            continue
        if repos.commit_of(swarm.project_id, f"refs/heads/{swarm.branch}") != swarm.integration_commit:
            yield f"{swarm}: its branch is not at {swarm.integration_commit}"


def _of_ended(what: str, rows: Iterable[Any], owners: dict[Any, Any], ended: dict[Any, str]) -> Iterator[str]:
    yield from (f"{ended[owners[row.subject]]}: {what} ({row.kind})" for row in rows if row.subject in owners)
