"""What agents had changed when their executions ended without a result, brought to the branches of their attempts.

A runner that could not push it in time offers it. It gets a token for that one push, good only while nobody can still
take the work for a result: the execution is over, and its node is not done.
"""

from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import Q

from agents.contracts.link import Forget, Rescue, Saved, Unsaved
from agents.models import Execution
from agents.ports import settlement
from sessions.events import publish_all
from sessions.models import Event
from tenants import tokens
from tenants.context import in_schema
from tenants.models import Domain, Runner, Team
from tenants.states import TeamState

logger = structlog.get_logger(__name__)

LIFE = timedelta(minutes=10)
KIND = "leftovers.kept"


def subject(execution: UUID) -> str:
    """What a token for the rescue of an execution's work is bound to."""
    return f"rescue:{execution}"


def offered(runner_id: UUID, said: Unsaved) -> Rescue | Forget | None:
    """A runner has work that is on no branch: what it shall do with it. None: keep it, for now."""
    team = _team(runner_id, said.team)
    if team is None:
        return None
    with in_schema(team.schema_name):
        execution = Execution.objects.filter(pk=said.execution, runner=runner_id).first()
        if execution is None or execution.is_live:
            return None
        if not settlement().wants_leftovers(execution):
            return Forget(execution=execution.pk)
        if said.because:
            _tell(execution, folder=said.folder, because=said.because)
            return None
        with transaction.atomic():
            tokens.revoke(subject(execution.pk))
            _, secret = tokens.issue("rescue", team=team, subject=subject(execution.pk), life=LIFE)
        return Rescue(execution=execution.pk, token=secret)


def saved(runner_id: UUID, said: Saved) -> None:
    """What a runner had left is on its branch; its token ends."""
    team = _team(runner_id, said.team)
    if team is None:
        return
    tokens.revoke(subject(said.execution))
    with in_schema(team.schema_name):
        execution = Execution.objects.filter(pk=said.execution, runner=runner_id).first()
        if execution is not None and said.commit:
            _tell(execution, commit=said.commit)


def execution_of(secret: str, team: Team) -> Execution | None:
    """The execution whose work this secret may push, in this team and its schema; None otherwise."""
    token = tokens.find(secret, "rescue")
    if token is None or token.team_id != team.pk:
        return None
    execution = Execution.objects.filter(pk=UUID(token.subject.removeprefix("rescue:"))).first()
    return None if execution is None or execution.is_live else execution


def _team(runner_id: UUID, slug: str) -> Team | None:
    """The team of this name, if the runner works for it."""
    domain = Domain.objects.filter(slug=slug, is_primary=True, tenant__state=TeamState.READY)
    of_team = Q(team=None) | Q(team__in=domain.values("tenant"))
    if not Runner.objects.filter(of_team, pk=runner_id).exists():
        return None
    return Team.objects.filter(domains__in=domain).first()


def _tell(execution: Execution, **facts: str) -> None:
    """Once for each place where the work is."""
    told: dict[str, Any] = {"execution": str(execution.pk), "agent": execution.agent, "runner": execution.runner.name}
    told |= {"commit": "", "folder": "", "because": ""} | facts
    if not Event.objects.filter(kind=KIND, subject=execution.event_subject, payload=told).exists():
        publish_all(execution.event_subject, [(KIND, told)])
        logger.info("work that was left is kept", **told)
