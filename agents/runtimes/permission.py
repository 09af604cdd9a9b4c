"""Whether an agent may do what it may not do by itself: one place, for all runtimes whose agents ask."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from agents.runtimes.asking import NO_ANSWER, ask_people
from agents.runtimes.inbox import Inbox
from agents.runtimes.recording import Transcript

ONCE, ALWAYS, NO = "allow once", "allow always", "deny"
OPTIONS = (ONCE, ALWAYS, NO)
_VERDICTS: dict[str, Literal["once", "always"]] = {
    ONCE: "once", "once": "once", "yes": "once", "allow": "once", ALWAYS: "always", "always": "always"
}  # fmt: skip
"""By what people say; everything else is a no, and tells why."""


@dataclass(frozen=True)
class Permit:
    """The answer to a request. `why` is for the agent, and empty unless it is a no."""

    verdict: Literal["once", "always", "no"]
    why: str = ""


async def seek(transcript: Transcript, inbox: Inbox, tool: str, what: str, options: Sequence[str] = OPTIONS) -> Permit:
    """Asks the people of the team whether the agent may use a tool on something; nobody's answer is a no."""
    question = f"May it use `{tool}`" + (f" on `{what}`?" if what else "?")
    transcript.begin_answer()
    answer = await ask_people(transcript, inbox, question, options)
    said = answer.text if answer else ""
    if verdict := _VERDICTS.get(said.strip().lower()):
        return Permit(verdict)
    return Permit("no", f"A person says: {said}" if said else NO_ANSWER)
