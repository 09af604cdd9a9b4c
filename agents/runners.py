"""Runners: who is connected, what each one holds, what it must be given."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from agents import executions
from agents.contracts import Assignment
from agents.contracts.link import Beat, Hello, Order
from agents.greeting import Occupant, Refused, refusal, taken
from agents.leases import STALE, heartbeats, lease
from agents.models import Execution
from agents.states import ExecutionState
from tenants import tokens
from tenants.context import in_schema
from tenants.faults import crash_point
from tenants.models import Placement, Runner

logger = structlog.get_logger(__name__)
VERSION_LENGTH, PROOF_LENGTH = 40, 500


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
    """A runner is there: remember where it listens, and give up what an earlier process of it had. Raises Refused."""
    refused, is_changed = _admit(runner_id, hello, channel)
    if refused is not None:
        logger.warning("a runner is refused", runner=str(runner_id), because=str(refused))
        raise refused
    held = set(hello.holding)
    sent = Q() if is_changed else Q(delivered_at__isnull=False)
    for schema, placed in _by_team(runner_id, sent).items():
        dropped = [execution for execution in placed if execution not in held]
        with in_schema(schema):
            begun = dict(Execution.objects.filter(pk__in=dropped).values_list("pk", "state"))
            unbegun = [pk for pk, state in begun.items() if state == ExecutionState.LEASED]
            if is_changed:
                for execution in unbegun:
                    _lose(execution, "released", "its runner came again with another sandbox")
            # They were sent, and never begun: send them again.
            Placement.objects.filter(execution__in=unbegun).update(delivered_at=None)
            for execution in begun.keys() - set(unbegun):
                _lose(execution, "lost", "its runner was started again without it")


def _admit(runner_id: UUID, hello: Hello, channel: str) -> tuple[Refused | None, bool]:
    """Lets a process in, unless it is refused; and whether commands are locked in otherwise than by the one before."""
    with transaction.atomic():
        runner = Runner.objects.select_for_update(no_key=True).get(pk=runner_id)
        silent = timezone.now() - runner.seen_at if runner.seen_at else None
        there = Occupant(runner.boot, bool(runner.channel), silent)
        if refused := refusal(hello, there, timedelta(seconds=settings.HEARTBEAT_SECONDS)):
            Runner.objects.filter(pk=runner_id).update(refused=str(refused), refused_at=Now())
            return refused, False
        is_changed = runner.sandbox not in ("", hello.sandbox)
        runner.capacity = 0 if hello.leaving else hello.capacity
        runner.sandbox = hello.sandbox
        runner.version = hello.version[:VERSION_LENGTH]
        runner.boot = hello.boot
        runner.proof = hello.proof[:PROOF_LENGTH]
        runner.channel = channel
        runner.save(update_fields=["capacity", "sandbox", "version", "boot", "proof", "channel"])
        Runner.objects.filter(pk=runner_id).update(seen_at=Now(), refused="")
    return None, is_changed


def still(runner_id: UUID, boot: UUID | None) -> None:
    """Goes on when this start of a runner is the one that was let in last. Raises Refused."""
    if boot is not None and not Runner.objects.filter(pk=runner_id, boot=boot).exists():
        raise taken()


def leave(runner_id: UUID) -> None:
    """A runner ends what it has and takes nothing more: it is given nothing."""
    Runner.objects.filter(pk=runner_id).update(capacity=0)


def listen(runner_id: UUID, channel: str, boot: UUID | None) -> None:
    """A runner that comes over plain HTTP hears nudges at this channel, until it listens anew. Raises Refused."""
    if not Runner.objects.filter(pk=runner_id, boot=boot).update(channel=channel):
        raise taken()


def disconnect(runner_id: UUID, channel: str) -> None:
    """Nobody listens there any more; what the runner holds goes on until its leases run out."""
    Runner.objects.filter(pk=runner_id, channel=channel).update(channel="")


def _by_team(runner_id: UUID, wanted: Q) -> dict[str, list[UUID]]:
    """Executions placed on this runner, by the schema of their team."""
    found: dict[str, list[UUID]] = {}
    rows = Placement.objects.filter(wanted, runner=runner_id).values_list("team__schema_name", "execution")
    for schema, execution in rows.order_by("created_at"):
        found.setdefault(schema, []).append(execution)
    return found


def _lose(execution: UUID, reason: str, because: str, guard: Q | None = None) -> bool:
    return executions.end(execution, ExecutionState.LOST, reason=reason, because=because, guard=guard)


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
                crash_point("attempt.given")
    return found


def accepted(runner_id: UUID, execution: UUID, fence: UUID) -> str:
    """The runner began with an execution: what to do with it."""
    for schema in _by_team(runner_id, Q(execution=execution)):
        with in_schema(schema):
            return executions.accept(execution, fence)
    return "stale"


def beats(runner_id: UUID, live: Iterable[Beat], spares: int = 0, boot: UUID | None = None) -> dict[UUID, Order]:
    """A heartbeat: the runner is alive, and so is each of these. What to do with each.

    `spares`: how many servers wait for an attempt there. `boot`: of which start it comes; raises Refused when another
    one was let in since. A few statements for each team that has work here, however much it is.
    """
    mine = Runner.objects.filter(pk=runner_id, **({"boot": boot} if boot else {}))
    if not mine.update(seen_at=Now(), spares=spares) and boot:
        raise taken()
    said = {beat.execution: beat for beat in live}
    orders = dict.fromkeys(said, STALE)
    for schema, placed in _by_team(runner_id, Q()).items():
        with in_schema(schema):
            orders |= heartbeats(said[execution] for execution in placed if execution in said)
            _give_again([execution for execution in placed if execution not in said])
            for execution in _forgotten([execution for execution in placed if execution not in said]):
                _lose(execution, "lost", "its runner is there and no longer has it", _silent())
    return orders


def _give_again(missing: list[UUID]) -> None:
    """What was sent a while ago and never reached its runner (an answer got lost): it is sent again."""
    if not missing:
        return
    unheard = timedelta(seconds=max(settings.HEARTBEAT_SECONDS, settings.LEASE_SECONDS / 2))
    unbegun = Execution.objects.filter(pk__in=missing, state=ExecutionState.LEASED).values_list("pk", flat=True)
    sent = Placement.objects.filter(execution__in=list(unbegun), delivered_at__lt=Now() - unheard)
    sent.update(delivered_at=None)


def _silent() -> Q:
    """Begun, and not said to be alive in the last two heartbeats."""
    silence = timedelta(seconds=2 * settings.HEARTBEAT_SECONDS)
    return Q(state=ExecutionState.RUNNING, lease_until__lt=Now() + lease() - silence)


def _forgotten(missing: list[UUID]) -> list[UUID]:
    return list(Execution.objects.filter(_silent(), pk__in=missing).values_list("pk", flat=True)) if missing else []


_LET_GO = {
    "over": ("lost", "its runner ended it without an outcome that could be accepted"),
    "leaving": ("released", "its runner stops in good order"),
    "full": ("released", "its runner had no room for it"),
}


def let_go(runner_id: UUID, execution: UUID, because: str) -> None:
    """The runner no longer has this execution. If nothing came of it, somebody else gets its work at once."""
    for schema in _by_team(runner_id, Q(execution=execution)):
        with in_schema(schema):
            _lose(execution, *_LET_GO[because])
