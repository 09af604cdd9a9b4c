"""Events about who works for a team, which servers there are, and what goes out of the platform. Pure."""

from sessions.kinds.payload import Payload


class AgentChanged(Payload):
    """A member added, changed or removed an agent of the registry."""

    agent: str
    """Its name."""
    what: str
    """added, changed or removed"""


class ServerChanged(Payload):
    """An agent server was found on the network, or a member added, changed or removed one."""

    server: str
    """Its id."""
    name: str
    """What it calls itself."""
    url: str
    """Where it answers."""
    version: str
    """What it says that it is."""
    what: str
    """found, answers (it has another version, or the same again after a fault), silent (the last probe failed), added,
    changed or removed"""


class ProviderChanged(Payload):
    """A member or an operator added, changed or revoked one of the team's own providers of models."""

    provider: str
    """Its id."""
    name: str
    """What the team calls it."""
    url: str
    """Where its API is."""
    models: list[str]
    """What it is asked for."""
    what: str
    """added, replaced (another key), changed (other models), preferred (asked first), revoked or removed"""
    by: str
    """Who did it."""


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
