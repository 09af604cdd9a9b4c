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
    """text, reasoning, tool, file, patch, question, step or error"""
    state: str
    """open, done or failed"""
    tool: str = ""
    """Of a tool call: the tool."""
    title: str = ""
    """Of a tool call: what it works on."""


class QuestionAsked(Payload):
    """An agent asks the people of the team, and waits for an answer."""

    session: str
    """Its session."""
    part: str
    """The part that asks: the question's id."""
    agent: str
    """Who asks."""
    text: str
    """What it asks, at most 500 characters."""
    options: list[str] = []
    """Answers to choose from, if it gave any: the first 20."""


class QuestionClosed(Payload):
    """An agent no longer waits for the answer to its question: it goes on without one, or has ended."""

    session: str
    """Its session."""
    part: str
    """The question's id."""
    agent: str
    """Who asked."""


class SessionSteered(Payload):
    """A person said something to an agent at work, interrupted it, answered it, or had something taken back."""

    session: str
    """The agent's session."""
    steer: str
    """Its id."""
    kind: str
    """message, interrupt, answer, revert (what it did since it was told something last is taken back) or unrevert"""
    agent: str
    """Who is to hear it."""
    by: str
    """The person's name; who exactly it is says the event's actor."""
    text: str
    """What was said, at most 500 characters; only a message and an answer always have it."""
    question: str = ""
    """Of an answer: the question's id."""


class SessionHeard(Payload):
    """An agent has taken what a person said."""

    session: str
    """The agent's session."""
    steer: str
    """What it has taken: see session.steered."""
    agent: str
    """Who has heard it."""


class SessionEnded(Payload):
    """A session is over: nothing more comes into its transcript."""

    session: str
    """Its id."""
    agent: str
    """Whose it was."""


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
