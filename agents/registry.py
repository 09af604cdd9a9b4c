"""The registry of agents: who works for a team, in which roles, and driven by what. Verbs for members and commands."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from agents import executions, placing
from agents.contracts import AGENT_RUNTIMES
from agents.models import Agent, Execution, Server
from agents.placement import belongs
from agents.placing import ROLES
from agents.server_choice import ANY
from agents.states import LIVE, AgentState, ExecutionState
from sessions.events import publish
from sessions.transitions import move
from tenants.models import Runner
from tenants.turns import current_team_id

MOST, MOST_AT_ONCE = 100, 1000
MOST_SKILLS, SKILL_LENGTH = 20, 40
_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_NUMBERED = re.compile(r".*-\d+")
_SKILL = re.compile(r"[\w+#]+")
HOSTED = "opencode"
"""The runtime whose agents may work on enrolled servers."""
OWN = ("checks", "new", "now")
"""Names under which Waggle itself works, and those of pages."""


@dataclass(frozen=True)
class Terms:
    """What a member decides about an agent."""

    name: str
    roles: Sequence[str]
    runtime: str = ""
    model: str = ""
    capacity: int | None = None
    runner: str = ""
    server: str = ""
    skills: Sequence[str] = ()

    @classmethod
    def of(cls, agent: Agent) -> "Terms":
        """As they are."""
        return cls(
            agent.name,
            agent.roles,
            agent.runtime,
            agent.model,
            agent.capacity,
            agent.runner,
            agent.server,
            tuple(agent.skills),
        )


def default(role: str) -> Terms:
    """The agent that does a role for which the registry has nobody."""
    return Terms(role, (role,))


def defaults() -> list[Terms]:
    """Those that work now without being in the registry."""
    taken = {role for roles in Agent.objects.values_list("roles", flat=True) for role in roles}
    return [default(role) for role in ROLES if role not in taken]


def add(terms: Terms, *, state: str = AgentState.ACTIVE) -> Agent:
    """A new agent. Raises ValidationError."""
    check(terms)
    with transaction.atomic():
        if Agent.objects.count() >= MOST:
            raise ValidationError(f"A team has at most {MOST} agents. Remove one that nobody needs.")
        if Agent.objects.filter(name=terms.name).exists():
            raise ValidationError({"name": f"There is an agent {terms.name} already. Choose another name."})
        made = Agent.objects.create(state=state, **_fields(terms))
        _tell(made, "added")
    placing.wake()
    return made


def change(agent: Agent, terms: Terms) -> None:
    """Other terms, for all that is placed from now on. Raises ValidationError."""
    check(terms)
    with transaction.atomic():
        if Agent.objects.filter(name=terms.name).exclude(pk=agent.pk).exists():
            raise ValidationError({"name": f"There is an agent {terms.name} already. Choose another name."})
        if terms.name != agent.name and placing.busy(agent):
            raise ValidationError({"name": f"{agent.name} is at work: change its name when it is done, or drain it."})
        Agent.objects.filter(pk=agent.pk).update(**_fields(terms))
        agent.refresh_from_db()
        _tell(agent, "changed")
    placing.wake()


def drain(agent: Agent, *, because: str) -> bool:
    """No new work; it finishes what it has, and is disabled then."""
    if agent.state != AgentState.ACTIVE or not move(agent, AgentState.DRAINING, because=because):
        return False
    placing.settle_draining(agent)
    return True


def enable(agent: Agent, *, because: str) -> bool:
    """It gets work again."""
    if agent.state == AgentState.ACTIVE or not move(agent, AgentState.ACTIVE, because=because):
        return False
    placing.wake()
    return True


def disable(agent: Agent, *, because: str) -> bool:
    """No work from now on: what it has under way is taken from it, and goes to another agent."""
    if agent.state == AgentState.DISABLED or not move(agent, AgentState.DISABLED, because=because):
        return False
    for execution in _live(agent):
        executions.end(
            execution.pk, ExecutionState.LOST, reason="released", because=f"its agent {agent.name} was disabled"
        )
    return True


def remove(agent: Agent) -> None:
    """It is gone; roles that nobody else has are done by their default again. Raises ValidationError."""
    if placing.busy(agent):
        raise ValidationError(f"{agent.name} is at work. Drain or disable it first, and remove it then.")
    with transaction.atomic():
        _tell(agent, "removed")
        agent.delete()
    placing.wake()


def _live(agent: Agent) -> list[Execution]:
    rows = Execution.objects.filter(state__in=LIVE, agent__startswith=agent.name)
    return [row for row in rows if belongs(row.agent, agent.name)]


def _fields(terms: Terms) -> dict[str, Any]:
    return {
        "name": terms.name,
        "roles": [role for role in ROLES if role in terms.roles],
        "runtime": terms.runtime,
        "model": terms.model.strip(),
        "capacity": terms.capacity,
        "runner": terms.runner,
        "server": terms.server,
        "skills": list(dict.fromkeys(skill.lower() for skill in terms.skills)),
    }


def _tell(agent: Agent, what: str) -> None:
    publish("team", "agent.changed", agent=agent.name, what=what)


def check(terms: Terms) -> None:
    """Raises ValidationError, by field, where the terms make no agent."""
    faults: dict[str, str] = {}
    if not _NAME.fullmatch(terms.name) or len(terms.name) > 40:
        faults["name"] = "Use a-z, 0-9 and single dashes, a letter first, at most 40 characters: careful-developer."
    elif _NUMBERED.fullmatch(terms.name) or terms.name in OWN:
        faults["name"] = (
            "This name would be taken for something else: leave out the number at its end, or take another."
        )
    if not terms.roles or set(terms.roles) - set(ROLES):
        faults["roles"] = f"Choose at least one of these: {', '.join(ROLES)}."
    if terms.runtime and terms.runtime not in AGENT_RUNTIMES:
        faults["runtime"] = f"There is no runtime {terms.runtime}. There are: {', '.join(AGENT_RUNTIMES)}."
    if len(terms.model) > 120 or any(not letter.isprintable() for letter in terms.model):
        faults["model"] = "The name of a model has at most 120 characters."
    if terms.capacity is not None and not 1 <= terms.capacity <= MOST_AT_ONCE:
        faults["capacity"] = f"Use 1 to {MOST_AT_ONCE}, or nothing for as many as the runners have room for."
    if terms.runner and terms.runner not in runners():
        faults["runner"] = f"There is no runner {terms.runner} that serves this team."
    if terms.server and terms.runtime != HOSTED:
        faults["server"] = f"Only agents with the runtime {HOSTED} work on enrolled servers."
    elif terms.server not in ("", ANY) and not Server.objects.filter(url=terms.server).exists():
        faults["server"] = f"There is no server at {terms.server}."
    if wrong := [skill for skill in terms.skills if len(skill) > SKILL_LENGTH or not _SKILL.fullmatch(skill)]:
        faults["skills"] = f"A skill is one word of at most {SKILL_LENGTH} letters; this is none: {wrong[0][:60]}"
    elif len(terms.skills) > MOST_SKILLS:
        faults["skills"] = f"An agent has at most {MOST_SKILLS} skills."
    if faults:
        raise ValidationError(faults)


def runners() -> list[str]:
    """Names of the runners that serve this team."""
    ours = Runner.objects.filter(team=None) | Runner.objects.filter(team=current_team_id())
    return list(ours.order_by("name").values_list("name", flat=True))
