"""Runners: who is connected, what each one holds, what it must be given."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models.functions import Now

from agents import executions
from agents.contracts import Assignment
from agents.contracts.link import Beat, Hello
from agents.models import Execution
from agents.states import ExecutionState
from tenants import tokens
from tenants.context import in_schema
from tenants.models import Placement, Runner

logger = structlog.get_logger(__name__)
VERSION_LENGTH = 40


@dataclass(frozen=True)
class Link:
    """One connected runner, as its websocket knows it."""

    runner: UUID
    boot: UUID


def authenticate(secret: str) -> UUID | None:
    """The runner that holds this token, or None."""
    token = tokens.find(secret, "runner")
    return Runner.objects.filter(token=token).values_list("pk", flat=True).first() if token else None


def connect(runner_id: UUID, hello: Hello, channel: str) -> None:
    """A runner is there: remember where it listens, and give up what an earlier process of it had."""
    with transaction.atomic():
        runner = Runner.objects.select_for_update(no_key=True).get(pk=runner_id)
        runner.capacity = hello.capacity
        runner.sandbox = hello.sandbox
        runner.version = hello.version[:VERSION_LENGTH]
        runner.boot = hello.boot
        runner.channel = channel
        runner.save(update_fields=["capacity", "sandbox", "version", "boot", "channel"])
        Runner.objects.filter(pk=runner_id).update(seen_at=Now())
    held = set(hello.holding)
    for placement in Placement.objects.filter(runner=runner_id, delivered_at__isnull=False).select_related("team"):
        if placement.execution in held:
            continue
        with in_schema(placement.team.schema_name):
            execution = Execution.objects.get(pk=placement.execution)
            if execution.state == ExecutionState.LEASED:
                # It was sent, and never began: send it again.
                Placement.objects.filter(pk=placement.pk).update(delivered_at=None)
            else:
                executions.end(
                    execution.id, ExecutionState.LOST, reason="lost", because="its runner was started again without it"
                )


def disconnect(runner_id: UUID, channel: str) -> None:
    """The websocket is gone; what the runner holds goes on until its leases run out."""
    Runner.objects.filter(pk=runner_id, channel=channel).update(channel="")


def pending(runner_id: UUID, channel: str) -> list[Assignment]:
    """What was placed on this runner and not yet given to it; giving it marks it.

    Only its newest websocket gets anything: what an older one sends, nobody hears.
    """
    found = []
    waiting = Placement.objects.filter(runner=runner_id, runner__channel=channel, delivered_at=None)
    for placement in waiting.select_related("team"):
        with in_schema(placement.team.schema_name):
            if assignment := executions.deliver(placement.execution, placement.team):
                found.append(assignment)
    return found


def _schema_of(execution: UUID, runner_id: UUID) -> str | None:
    return (
        Placement.objects.filter(execution=execution, runner=runner_id)
        .values_list("team__schema_name", flat=True)
        .first()
    )


def accepted(runner_id: UUID, execution: UUID, fence: UUID) -> str:
    """The runner began with an execution: what to do with it."""
    schema = _schema_of(execution, runner_id)
    if schema is None:
        return "stale"
    with in_schema(schema):
        return executions.accept(execution, fence)


def beats(runner_id: UUID, live: Iterable[Beat]) -> dict[UUID, str]:
    """A heartbeat: the runner is alive, and so is each of these. What to do with each."""
    Runner.objects.filter(pk=runner_id).update(seen_at=Now())
    verdicts = {}
    for beat in live:
        schema = _schema_of(beat.execution, runner_id)
        if schema is None:
            verdicts[beat.execution] = "stale"
            continue
        with in_schema(schema):
            verdicts[beat.execution] = executions.heartbeat(beat.execution, beat.fence, beat.progress)
    return verdicts
