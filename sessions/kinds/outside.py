"""Events about what goes out of the platform. Pure."""

from sessions.kinds.payload import Payload


class WebhookChanged(Payload):
    """A member added, changed or removed a webhook, or gave it another secret."""

    webhook: str
    """Its id."""
    name: str
    """What people call it."""
    host: str
    """Where it leads; the whole address may hold a secret."""
    what: str
    """added, changed, removed, rotated (both secrets sign for a while) or old_secret_ended"""


class WebhookTested(Payload):
    """A member asked for a test; it is sent to that webhook only."""

    webhook: str
    """Its id."""
    name: str
    """What people call it."""
