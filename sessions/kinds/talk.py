"""Events of a session's transcript. Pure."""

from sessions.kinds.payload import Payload


class MessageRecorded(Payload):
    """A message of a session began."""

    message: str
    role: str


class PartRecorded(Payload):
    """A part of a message is new, or has a new state."""

    part: str
    message: str
    kind: str
    state: str
    tool: str = ""
    title: str = ""
