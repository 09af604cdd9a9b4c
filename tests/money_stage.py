"""Executions that cost money, and many who reserve or spend at once, for tests of budgets."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from agents import budgets
from agents.models import Budget, Execution, ModelCall
from sessions.models import Session
from tenants import tokens
from tenants.context import in_schema
from tenants.ids import uuid7
from tenants.models import Runner, Team


def execution(**fields: Any) -> Execution:
    """A live execution on a runner of its own that draws on the budgets of a project and of the team."""
    token, _ = tokens.issue("runner")
    swarm = uuid7()
    given: dict[str, Any] = {
        "kind": "work",
        "subject": f"node:{uuid7()}",
        "swarm": swarm,
        "session": Session.objects.create(subject=f"swarm:{swarm}", title="t", agent="developer-1"),
        "agent": "developer-1",
        "assignment": {"role": "developer"},
        "runner": Runner.objects.create(name=f"runner-{swarm}", token=token),
        "lease_until": timezone.now() + timedelta(minutes=5),
        "budgets": ["project:p", "team"],
    }
    return Execution.objects.create(**given | fields)


def books(subject: str = "team") -> tuple[int, int, int]:
    """Limit, reserved and spent of a subject."""
    found = Budget.objects.get(subject=subject)
    return found.limit_microusd, found.reserved_microusd, found.spent_microusd


def at_once(work: Callable[[int], Any], count: int, team: Team, workers: int = 10) -> list[Any]:
    """Do `work` so many times in threads that have their own connections."""

    def one(number: int) -> Any:
        with in_schema(team.schema_name):
            return work(number)

    with ThreadPoolExecutor(workers) as pool:
        try:
            return list(pool.map(one, range(count)))
        finally:
            _close(pool, workers)


def _close(pool: ThreadPoolExecutor, workers: int) -> None:
    together = threading.Barrier(workers)
    for done in [pool.submit(lambda: (together.wait(30), connection.close())) for _ in range(workers)]:
        done.result()


def spend(execution: UUID, cost: int, *, held: int = 0) -> list[str]:
    """Book a model call, as the gateway does."""
    ModelCall.objects.create(execution_id=execution, model="m", status=200, cost_microusd=cost)
    return budgets.spend(budgets.locked(execution), cost, held=held)
