"""The first work of a process: what it imports, connects and compiles then, nobody waits for later."""

from contextlib import suppress
from uuid import uuid4

import structlog
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from agents.contracts import PlanNode, PlanProposal
from swarms import control, engine, planner
from swarms.decide import decide
from swarms.looking import snapshot
from swarms.models import Goal, Plan, Project, Swarm
from swarms.states import SWARM_ENDED, SwarmState
from tenants.context import PUBLIC, each_team, in_schema
from tenants.faults import is_armed
from tenants.models import User

logger = structlog.get_logger(__name__)
_COMMIT = "0" * 40
_PLAN = PlanProposal(
    summary="Nothing",
    nodes=(
        PlanNode(key="first", title="Nothing", kind="noop"),
        PlanNode(key="second", title="Nothing", kind="noop", depends_on=("first",)),
    ),
)


def warm() -> None:
    """Look at a swarm that nobody has, in each state, and carry one out that is rolled back, in one of the teams.

    Nothing of it stays. Without a database it waits for nothing: the first work is slower then.
    """
    try:
        schema = next(each_team(), None)
        if schema is None:
            return
        with in_schema(PUBLIC):
            owner = User.objects.filter(memberships__team__schema_name=schema).first()
        with in_schema(schema):
            with suppress(Swarm.DoesNotExist):
                engine.advance(uuid4())
            for state in set(SwarmState) - set(SWARM_ENDED):
                decide(snapshot(Swarm(project=Project(), state=state, created_at=timezone.now())))
            if owner and not is_armed():  # who is to die at a named place shall do so over real work
                _carry_out(owner)
    except DatabaseError as error:
        logger.info("nothing could be tried before work comes", error=str(error))


@transaction.atomic
def _carry_out(owner: User) -> None:
    project = Project.objects.create(
        slug=uuid4().hex, name="Nothing", source="/nowhere", head=_COMMIT, approve_plan=False, created_by=owner
    )
    goal = Goal.objects.create(project=project, number=1, text="Nothing", created_by=owner)
    swarm = Swarm.objects.create(project=project, goal=goal, number=1, base_commit=_COMMIT, integration_commit=_COMMIT)
    planner.propose(Plan.objects.create(swarm=swarm, version=1, source="yaml", created_by=owner), _PLAN)
    engine.advance(swarm.pk)
    with connection.cursor() as cursor:
        claimed = control.step(cursor, swarm.pk, [], claim=1).claimed
        control.step(cursor, swarm.pk, claimed, claim=1)
    transaction.set_rollback(True)
