"""Events about what agents may do. Pure."""

from sessions.kinds.payload import Payload


class RuleChanged(Payload):
    """A member made or revoked a rule for agents' tools, or asks it earlier or later than before."""

    rule: str
    """Its id."""
    what: str
    """made, moved or revoked"""
    verdict: str
    """allow, ask or deny"""
    tool: str
    """A glob of names of tools."""
    role: str
    """Of agents that it is for; empty: any."""
    life: str
    """once, swarm or always"""
    swarm: str
    """Id of the swarm that it is for; empty: any."""
    approval: str
    """Id of the approval that it answers; empty: it was made by itself."""
    position: int
    """Its place: the lowest is asked first."""


class ProjectChanged(Payload):
    """A member changed a project: its name, repository, checks or policies."""

    what: list[str]
    """What is different now: name, source, checks, acceptance, approve_plan and so on."""


class ExposureSet(Payload):
    """A member said what a project's agents are exposed to."""

    untrusted_input: bool
    """Strangers may write what they read."""
    has_secrets: bool
    """What they see holds secrets."""
