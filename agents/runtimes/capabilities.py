"""What a runtime can do beside carrying out an assignment, as data: documents and tests are held to it."""

from dataclasses import dataclass
from typing import Literal

Hearing = Literal["at its next step", "when its turn is over", "when it is run again"]
Crash = Literal["goes on in the same session", "ends with a reason"]


@dataclass(frozen=True)
class Capabilities:
    """What people and plans may expect of a kind of agent."""

    hears: Hearing
    """When it hears what people say. An interrupt stops what it does at once, whatever it is."""
    asks: bool
    """It can ask the people of the team, and waits for the answer."""
    seeks_permission: bool
    """It asks people before it does what it may not do by itself."""
    crash: Crash
    """What happens when the process of its agent dies. Where that is our own child, its runner tells."""
    streams_commands: bool
    """The output of a command is in the transcript while the command runs."""
    reverts: bool = False
    """What it did since it was told something last can be taken back: it forgets that, and files are as they were."""
