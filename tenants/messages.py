"""How a Dramatiq message remembers its team and its trace. Loaded while apps load, so it imports no model."""

from typing import Any

import structlog
from django.db import transaction
from dramatiq import Broker, get_broker
from dramatiq.message import Message
from dramatiq.middleware import Middleware, MiddlewareError

from tenants import context
from tenants.faults import crash_point
from tenants.trace import begin_trace, current_trace

logger = structlog.get_logger(__name__)
QUEUE = "default"


class TeamContext(Middleware):
    """Stamps messages with schema and trace, and enters both before an actor runs. Fails closed."""

    def before_enqueue(self, broker: Broker, message: Message, delay: int | None) -> None:
        # A message that is enqueued again by a worker sits on public: the first stamp wins.
        message.options.setdefault("schema", context.current_schema())
        message.options.setdefault("trace", current_trace())

    def before_process_message(self, broker: Broker, message: Any) -> None:
        # Dramatiq logs any other exception raised here and runs the actor all the same.
        try:
            context.enter(message.options["schema"])
        except Exception as error:
            raise MiddlewareError(f"{message.message_id} names no team") from error
        trace = begin_trace(message.options.get("trace", ""))
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(team=message.options["schema"], trace=trace)

    def after_process_message(
        self, broker: Broker, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        context.leave()

    def after_skip_message(self, broker: Broker, message: Any) -> None:
        context.leave()


def send_on_commit(actor: str, *args: Any) -> None:
    """Hint an actor, by its name, once the transaction commits: for the team of this line (not of the commit).

    By name, so that verbs need not know the edge that calls them. A hint that cannot be sent is logged and no more:
    the reconciler finds the work by its rows.
    """
    message: Message[Any] = Message(
        queue_name=QUEUE,
        actor_name=actor,
        args=args,
        kwargs={},
        options={"schema": context.current_schema(), "trace": current_trace()},
    )

    def send() -> None:
        broker = get_broker()
        crash_point("hint.unsent")
        try:
            broker.declare_queue(QUEUE)
            broker.enqueue(message)
        except Exception as error:
            logger.warning("hint not sent", actor=actor, error=str(error))

    transaction.on_commit(send)
