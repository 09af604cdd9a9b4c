"""What the control plane answers to a runner's messages, whichever way they come. All state is in Postgres."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.conf import settings

from agents import rescue, runners
from agents.contracts.link import (
    Accepted,
    Assign,
    Ended,
    FromRunner,
    Heartbeat,
    Hello,
    Hurry,
    Leaving,
    Order,
    Saved,
    ToRunner,
    Unsaved,
    Verdicts,
    Welcome,
)
from agents.leases import STALE
from tenants.hints import capacity_freed


def hear(runner: UUID, message: FromRunner, channel: str, boot: UUID | None = None) -> list[ToRunner]:
    """Take one message of a runner that listens at this channel; the answers, in order.

    `boot`: of which start of it this comes, once it has said that. Raises agents.greeting.Refused.
    """
    if not isinstance(message, Hello | Heartbeat):
        runners.still(runner, boot)
    match message:
        case Hello():
            runners.connect(runner, message, channel)
            capacity_freed()
            return [Welcome(runner=runner, heartbeat_seconds=settings.HEARTBEAT_SECONDS)]
        case Accepted():
            verdict = runners.accepted(runner, message.execution, message.fence)
            return [] if verdict == "continue" else [Verdicts(executions={message.execution: Order(verdict=verdict)})]
        case Heartbeat():
            return [Verdicts(executions=runners.beats(runner, message.executions, message.spares, boot))]
        case Leaving():
            runners.leave(runner)
        case Unsaved():
            answer = rescue.offered(runner, message)
            return [answer] if answer else []
        case Saved():
            rescue.saved(runner, message)
        case Ended():
            runners.let_go(runner, message.execution, message.because)
            return pending(runner, channel)
    return []


def pending(runner: UUID, channel: str) -> list[ToRunner]:
    """What was placed on the runner and not given to it yet."""
    return [Assign(assignment=assignment) for assignment in runners.pending(runner, channel)]


def nudged(runner: UUID, event: Mapping[str, Any], channel: str) -> list[ToRunner]:
    """Something was placed on the runner: give it. Something must stop, or was said to an agent: do not wait for the
    next heartbeat. See agents.nudges."""
    orders = {UUID(one): Order(verdict="cancel") for one in event.get("cancel", ())}
    orders |= {UUID(one): STALE for one in event.get("stale", ())}
    said: list[ToRunner] = [Verdicts(executions=orders)] if orders else []
    if event.get("is_said"):
        said.append(Hurry())
    return said + pending(runner, channel)
