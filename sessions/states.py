"""States of what belongs to sessions, and its table of moves. Pure."""

from enum import StrEnum

from tenants.states import table


class WebhookState(StrEnum):
    ENABLED = "enabled"
    DISABLED = "disabled"  # nothing is sent; where it has come to is kept


WEBHOOK_MOVES = table(enabled="disabled", disabled="enabled")
