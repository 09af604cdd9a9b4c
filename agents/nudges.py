"""Hints to a runner's websocket: something was placed, must stop, or is to be heard. It also looks by itself."""

from collections.abc import Iterable
from uuid import UUID

import structlog
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from redis.exceptions import RedisError

from tenants.models import Runner

logger = structlog.get_logger(__name__)


def nudge(runner: Runner, *, cancel: Iterable[UUID] = (), stale: Iterable[UUID] = (), is_said: bool = False) -> None:
    """Make a runner's websocket look for placements, and pass on which executions were asked to stop or are over.

    `is_said`: somebody said something to an agent on it.
    """
    layer = get_channel_layer()
    if layer is None or not runner.channel:
        return
    try:
        words = {"cancel": [str(one) for one in cancel], "stale": [str(one) for one in stale], "is_said": is_said}
        async_to_sync(layer.send)(runner.channel, {"type": "placed"} | words)
    except (RedisError, OSError) as error:
        logger.warning("nudge not sent", runner=runner.name, error=str(error))
