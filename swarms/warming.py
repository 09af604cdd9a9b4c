"""The first look of a process: what it imports, connects and compiles then, nobody waits for later."""

from contextlib import suppress
from uuid import uuid4

import structlog
from django.db import DatabaseError
from django.utils import timezone

from swarms import engine
from swarms.decide import decide
from swarms.looking import snapshot
from swarms.models import Project, Swarm
from swarms.states import SWARM_ENDED, SwarmState
from tenants.context import each_team, in_schema

logger = structlog.get_logger(__name__)


def warm() -> None:
    """Look at a swarm that nobody has, in each state, in one of the teams. Reads only; without a database it waits for
    nothing: the first work is slower then."""
    try:
        schema = next(each_team(), None)
        if schema is None:
            return
        with in_schema(schema):
            with suppress(Swarm.DoesNotExist):
                engine.advance(uuid4())
            for state in set(SwarmState) - set(SWARM_ENDED):
                decide(snapshot(Swarm(project=Project(), state=state, created_at=timezone.now())))
    except DatabaseError as error:
        logger.info("nothing could be looked at before work comes", error=str(error))
