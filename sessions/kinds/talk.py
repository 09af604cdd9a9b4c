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


class QuestionAsked(Payload):
    """An agent asks the people of the team, and waits for an answer."""

    session: str
    part: str
    agent: str
    text: str
    options: list[str] = []


class QuestionClosed(Payload):
    """An agent no longer waits for the answer to its question: it goes on without one, or has ended."""

    session: str
    part: str
    agent: str


class SessionSteered(Payload):
    """A person said something to an agent at work, interrupted it, or answered its question."""

    session: str
    steer: str
    kind: str
    agent: str
    by: str
    text: str
    question: str = ""


class SessionHeard(Payload):
    """An agent has taken what a person said."""

    session: str
    steer: str
    agent: str


class SessionImported(Payload):
    """A session that happened elsewhere was taken over, or more of it."""

    session: str
    """Its id here."""
    program: str
    """The program that it happened in."""
    messages: int
    """Messages that are new."""
    parts: int
    """Parts that are new or have grown."""


class SessionsRemoved(Payload):
    """Imported sessions were taken out again."""

    program: str
    """The program that they happened in."""
    sessions: int
    """How many."""
