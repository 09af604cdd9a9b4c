"""What a verb says when the state of a swarm, or of a node, does not allow it."""

from django.core.exceptions import ValidationError


class NotNow(ValidationError):
    """The state does not allow it; the text says what would."""
