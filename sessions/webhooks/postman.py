"""Turns of webhooks beside a worker's own work: a receiver that is slow holds up no actor.

A turn has a thread of its own, so few at once. Whoever finds no room leaves the webhook due: the clock hints again.
"""

import threading
from uuid import UUID

import structlog
from django.db import connection

from sessions.webhooks import sender
from tenants.context import in_schema

logger = structlog.get_logger(__name__)

MOST, MOST_OF_A_TEAM = 16, 4
"""Turns of this process at once, and of one team."""
_busy: dict[UUID, str] = {}
_lock = threading.Lock()


def begin(schema: str, webhook: UUID) -> bool:
    """Let a webhook have its turn. Returns False when it has it already, or there is no room."""
    with _lock:
        of_team = sum(other == schema for other in _busy.values())
        if webhook in _busy or len(_busy) >= MOST or of_team >= MOST_OF_A_TEAM:
            return False
        _busy[webhook] = schema
    threading.Thread(target=_turn, args=[schema, webhook], name=f"webhook-{webhook}", daemon=True).start()
    return True


def _turn(schema: str, webhook: UUID) -> None:
    try:
        with in_schema(schema):
            sender.send(webhook)
    except Exception:
        # Its lease runs out, and the clock looks at it again.
        logger.exception("a webhook's turn broke off", webhook=str(webhook), team=schema)
    finally:
        connection.close()
        with _lock:
            del _busy[webhook]
