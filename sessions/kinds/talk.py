"""Events of a session's transcript. Pure."""

from sessions.kinds.payload import Payload


class MessageRecorded(Payload):
    """A message of a session began."""

    message: str
    """Its id."""
    role: str
    """system, user or assistant"""


class PartRecorded(Payload):
    """A part of a message is new, or has a new state."""

    part: str
    """Its id."""
    message: str
    """The message that it belongs to."""
    kind: str
    """text, reasoning, tool, patch, error or step"""
    state: str
    """open, done or failed"""
    tool: str = ""
    """Of a tool call: the tool."""
    title: str = ""
    """Of a tool call: what it works on."""
