"""Of a turn that has come: the runner that it had best go to, and waiting for an agent."""

from collections.abc import Sequence
from uuid import UUID

from django.db import connection
from django.db.models import Q

from agents import breakers, placing
from agents.placement import Nobody, Place, Why, prefer
from swarms.attempts import COORDINATOR
from swarms.models import Node
from swarms.states import NodeState
from tenants import turns
from tenants.context import in_schema
from tenants.models import Runner, Ticket

# By the index of executions: at most fifty rows, however long a project has been worked on.
_WARM = """
SELECT e.runner_id FROM (
  SELECT id FROM swarms_swarm WHERE project_id = (SELECT project_id FROM swarms_swarm WHERE id = %s)
  ORDER BY created_at DESC LIMIT 5
) s CROSS JOIN LATERAL (
  SELECT runner_id, created_at FROM agents_execution WHERE swarm = s.id ORDER BY created_at DESC LIMIT 10
) e ORDER BY e.created_at DESC
"""


def warmest(ticket: Ticket, runner: Runner, free: Sequence[Runner]) -> tuple[Runner, list[Runner]]:
    """The locked runner, or another that worked on the ticket's project lately and is locked now, too; and the other
    free ones that may have the ticket. Never waits for a lock. One query more where there is a choice, else none."""
    others = [one for one in free if one.pk != runner.pk and _may_have(one, ticket)]
    if not others or ticket.swarm is None:
        return runner, others
    seen = {one.pk: one for one in free}
    names = [seen[pk].name for pk in _worked_on(ticket) if pk in seen]
    best = prefer([_place(seen.get(one.pk, one)) for one in (runner, *others)], names)
    if best.name == runner.name:
        return runner, others
    other = next(one for one in others if one.name == best.name)
    locked = turns.lock_slot(other.pk, wait=False)
    if locked is None:
        return runner, others
    return locked, [runner, *(one for one in others if one.pk != locked.pk)]


def _may_have(runner: Runner, ticket: Ticket) -> bool:
    return runner.team_id in (None, ticket.team_id) and (runner.trusted or ticket.kind != "checks")


def _worked_on(ticket: Ticket) -> list[UUID]:
    with in_schema(ticket.team.schema_name), connection.cursor() as cursor:
        cursor.execute(_WARM, [ticket.swarm])
        return list(dict.fromkeys(row[0] for row in cursor.fetchall()))


def _place(runner: Runner) -> Place:
    return Place(runner.name, getattr(runner, "held", 0), runner.capacity)


def elsewhere(nobody: Nobody, others: Sequence[Runner]) -> Runner | None:
    """A runner on which somebody would take the work at once, locked; None: there is none with room."""
    for other in others:
        if other.name in nobody.elsewhere and (locked := turns.lock_slot(other.pk, wait=False)):
            return locked
    return None


def park(ticket: Ticket, nobody: Nobody) -> None:
    """Have a ticket wait for an agent, and all of its team that need one of the same role: one by one, they would hold
    up the teams behind it. What waits for a reason of its own waits alone."""
    with in_schema(ticket.team.schema_name):
        of_role = Q(role=nobody.role) | (Q(role="") if nobody.role == COORDINATOR else Q())
        alike = Node.objects.filter(of_role, state=NodeState.READY).values_list("pk", flat=True)
        is_alone = nobody.is_untrusted or ticket.kind != "node"
        subjects = [ticket.subject] if is_alone else [ticket.subject, *alike]
    rows = Ticket.objects.filter(team=ticket.team_id, lane="agent", kind=ticket.kind, subject__in=subjects)
    free = rows.select_for_update(skip_locked=True).values_list("pk", flat=True)
    # Told apart: a node that waits for a breaker is not late (see swarms.orphans).
    is_shut = all(misfit.why == Why.BREAKER for misfit in nobody.misfits)
    turns.park(free, f"{'breaker' if is_shut else 'agent'}:{nobody.text}", placing.WAITS)


def stops(shut: breakers.Shut, ticket: Ticket) -> bool:
    """Whether a breaker stops all that this team would ask: not where some agents ask other models."""
    with in_schema(ticket.team.schema_name):
        return breakers.scope(shut.name) != "model" or not placing.has_own_models()
