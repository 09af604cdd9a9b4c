"""Who takes a piece of work: reads what agents.placement decides on, and wakes what waits for an agent."""

import json
from collections.abc import Iterable
from datetime import timedelta
from functools import partial, reduce
from operator import or_

from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Now

from agents import breakers, clearing, hosting, routes
from agents.models import Agent, Execution
from agents.placement import Candidate, Chosen, Nobody, belongs, choose
from agents.states import LIVE, AgentState
from sessions.transitions import move
from tenants.context import current_schema, in_schema
from tenants.hints import capacity_freed
from tenants.models import Runner, Ticket
from tenants.turns import current_team_id

ROLES = ("coordinator", "developer", "writer", "reviewer")
WAITS = timedelta(seconds=10)
"""When work for which nobody had room is looked at again, should nothing wake it."""
WOKEN = 3
"""Tickets that one free place wakes: the first may not be wanted any more."""


_LIVE = ", ".join(f"'{state}'" for state in sorted(LIVE))
# Names are of a-z, 0-9 and dashes: nothing in them means something else to LIKE.
_OF_ROLE = f"""
WITH registered AS (
  SELECT name, state, runtime, model, capacity, runner, server, skills, true
  FROM agents_agent WHERE roles @> %(roles)s::jsonb
), whoever (name, state, runtime, model, capacity, runner, server, skills, is_registered) AS (
  SELECT * FROM registered UNION ALL
  SELECT %(role)s, 'active', '', '', NULL, '', '', '[]'::jsonb, false WHERE NOT EXISTS (SELECT 1 FROM registered)
)
SELECT w.*, ARRAY(
  SELECT x.agent FROM agents_execution x
  WHERE x.state IN ({_LIVE}) AND (x.agent = w.name OR x.agent LIKE w.name || '-%%')
) FROM whoever w ORDER BY w.name
"""


def chosen(role: str, runner: Runner, text: str, *, untrusted: bool = False) -> Chosen | Nobody:
    """Which agent takes work of this role on this runner: of those that take the role or, where the registry has none,
    the one that does it by default. One query; more where agents work on enrolled servers.

    `untrusted`: the work reads strangers' words.
    """
    candidates: list[Candidate] = []
    live: set[str] = set()
    with connection.cursor() as cursor:
        cursor.execute(_OF_ROLE, {"role": role, "roles": json.dumps([role])})
        for name, state, runtime, model, capacity, where, server, skills, is_registered, names in cursor.fetchall():
            known = tuple(map(str, json.loads(skills)))
            candidates.append(Candidate(name, state, runtime, model, capacity, where, server, known, is_registered))
            live |= set(names)
    hosts = hosting.hosts() if any(one.server for one in candidates) else []
    return choose(
        role,
        candidates,
        runner=runner.name,
        live=live,
        text=text,
        shut=_shut(candidates),
        hosts=hosts,
        untrusted=untrusted,
    )


def own_name(role: str) -> str:
    """A free name for work of Waggle's own: checks-1, checks-2 …"""
    taken = _live([role])
    number = 1
    while f"{role}-{number}" in taken:
        number += 1
    return f"{role}-{number}"


def _live(names: Iterable[str]) -> set[str]:
    """Names of executions under way that may be those of these agents."""
    wanted = reduce(or_, (Q(agent=name) | Q(agent__startswith=f"{name}-") for name in names))
    return set(Execution.objects.filter(wanted, state__in=LIVE).values_list("agent", flat=True))


def _shut(candidates: Iterable[Candidate]) -> dict[str, str]:
    """The models of these that are left alone now. Who dispatches has looked at the team's default just before."""
    models = {one.model for one in candidates if one.is_registered}
    shut = {model: breakers.closed_until(current_schema(), model) for model in models}
    return {model: found.why for model, found in shut.items() if found}


def has_own_models() -> bool:
    """Whether an agent of this team asks another model than the team's default."""
    return not routes.is_rehearsal() and Agent.objects.exclude(model="").exists()


def busy(agent: Agent) -> int:
    """How many executions it has under way."""
    return sum(belongs(name, agent.name) for name in _live([agent.name]))


def wake(role: str = "", *, most: int = 0) -> None:
    """Somebody may take what waits for an agent: of this role, or of all; the first `most` of it, or all."""
    waiting = Ticket.objects.filter(team=current_team_id(), lane="agent", parked__startswith=f"agent:{role}")
    first = waiting.order_by("-priority", "-path", "created_at")
    ids = list((first[:most] if most else first).values_list("pk", flat=True))
    free = Ticket.objects.select_for_update(skip_locked=True).filter(pk__in=ids)
    with transaction.atomic():
        found = list(free.values_list("pk", flat=True))
        Ticket.objects.filter(pk__in=found).update(not_before=Now(), parked="")
    if found:
        capacity_freed()


def left(execution: Execution) -> None:
    """An execution has ended: once that is committed, somebody else may have the place of its agent."""
    hosting.noted(execution)
    clearing.noted(execution)
    if execution.placed.get("registered"):
        name = str(execution.placed["agent"])
        # Whoever commits may be in another scope by then.
        transaction.on_commit(partial(_left, current_schema(), name), robust=True)


def _left(schema: str, name: str) -> None:
    with in_schema(schema):
        agent = Agent.objects.filter(name=name).first()
        if agent is None:
            return
        if agent.state == AgentState.DRAINING:
            settle_draining(agent)
        elif agent.capacity is not None or agent.runner or agent.server:
            for role in agent.roles:
                wake(role, most=WOKEN)


def settle_draining(agent: Agent) -> bool:
    """A draining agent that has nothing left is disabled."""
    if busy(agent):
        return False
    return move(agent, AgentState.DISABLED, because="it has finished what it had")
