"""Messages on the websocket of a swarm's pages (/ws/swarms/<uuid>/, JSON, one object a frame)."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from agents.contracts.assignment import Frozen


class Say(Frozen):
    """Say something to the agent of a session. Under one key it is said once, however often it is sent."""

    type: Literal["say"] = "say"
    key: UUID
    session: UUID
    text: str = Field(max_length=20_000)


class Interrupt(Frozen):
    """Stop what the agent does now; without a text it waits for a word."""

    type: Literal["interrupt"] = "interrupt"
    key: UUID
    session: UUID
    text: str = Field(default="", max_length=20_000)


class Answer(Frozen):
    """Answer a question of the agent."""

    type: Literal["answer"] = "answer"
    key: UUID
    session: UUID
    question: UUID
    text: str = Field(max_length=20_000)


FromPerson = Annotated[Say | Interrupt | Answer, Field(discriminator="type")]


class Done(Frozen):
    """It is said: it is in the transcript, and the agent will have it."""

    type: Literal["done"] = "done"
    key: UUID


class Refused(Frozen):
    """It is not said; the text tells why."""

    type: Literal["refused"] = "refused"
    key: UUID | None = None
    text: str


class Person(Frozen):
    """Somebody who looks at the swarm."""

    user: UUID
    name: str
    initials: str


class Present(Frozen):
    """Who looks at the swarm now, by name."""

    type: Literal["present"] = "present"
    people: tuple[Person, ...] = ()


ToPerson = Annotated[Done | Refused | Present, Field(discriminator="type")]
