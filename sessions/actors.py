"""Dramatiq actors of sessions: only hints make them run."""

from uuid import UUID

import dramatiq

from sessions.webhooks import postman
from tenants.context import current_schema


@dramatiq.actor(time_limit=30_000)
def webhook(webhook_id: str) -> None:
    """Something is due for a webhook."""
    postman.begin(current_schema(), UUID(webhook_id))
