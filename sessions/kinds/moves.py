"""Moves of one row: for each noun with states, its `<noun>.moved`. docs/states.md has the states. Pure."""

from sessions.kinds.payload import Payload


class Moved(Payload):
    """Something changed its state."""

    id: str
    """The row that moved."""
    name: str = ""
    """What people call it."""
    before: str
    """The state that it left."""
    after: str
    """The state that it came to."""
    because: str = ""
    """Why, for people."""
    reason: str = ""
    """Why it did not succeed, as a word of the table of reasons; empty: it did, or is not over."""


class ProjectMoved(Moved):
    """A project's repository is being copied, is here, or could not be read."""


class SwarmMoved(Moved):
    """A swarm came to its next state."""


class PlanMoved(Moved):
    """A version of a plan was proposed, approved, refused or superseded."""


class NodeMoved(Moved):
    """A node came to its next state."""


class AttemptMoved(Moved):
    """An attempt began or ended."""


class CheckRunMoved(Moved):
    """A run of checks began or ended."""


class MergeMoved(Moved):
    """An entry of the merge queue went on."""


class ApprovalMoved(Moved):
    """A question to a person was answered, ran out or became void."""


class ExecutionMoved(Moved):
    """A runner began or ended an assignment."""


class AgentMoved(Moved):
    """An agent of the registry gets work again, gets no more, or gets none."""


class ServerMoved(Moved):
    """An agent server was enrolled, put back into quarantine, lost, or switched off."""


class WebhookMoved(Moved):
    """A webhook was switched on or off, by a member or because its receiver had failed for days."""


MOVED: dict[str, type[Moved]] = {
    "project": ProjectMoved,
    "swarm": SwarmMoved,
    "plan": PlanMoved,
    "node": NodeMoved,
    "attempt": AttemptMoved,
    "check_run": CheckRunMoved,
    "merge": MergeMoved,
    "approval": ApprovalMoved,
    "execution": ExecutionMoved,
    "agent": AgentMoved,
    "server": ServerMoved,
    "webhook": WebhookMoved,
}
"""Nouns that move, each with the model of its event."""
