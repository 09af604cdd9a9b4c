"""Messages that get lost, so that the reconciler alone drives."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dramatiq import Broker, Message, get_broker
from dramatiq.middleware import Middleware, MiddlewareError


class Mute(Middleware):
    """Messages that this process sends never arrive."""

    def before_enqueue(self, broker: Broker, message: Message[Any], delay: int | None) -> None:
        """Lose it; who sends writes to the log that it was not sent, and goes on."""
        raise MiddlewareError("lost on its way")


@contextmanager
def muted() -> Iterator[None]:
    """What this process sends meanwhile gets lost."""
    broker, mute = get_broker(), Mute()
    broker.add_middleware(mute)
    try:
        yield
    finally:
        broker.middleware.remove(mute)
