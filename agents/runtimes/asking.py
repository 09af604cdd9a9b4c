"""An agent asks the people of its team, and waits."""

import asyncio
from collections.abc import Sequence

from agents.contracts.link import Steer
from agents.runtimes.inbox import Inbox, as_heard
from agents.runtimes.recording import Transcript

ASK_SECONDS = 900.0
"""How long an agent waits for the answer to its question."""
ALIVE_SECONDS = 60.0
"""Who waits for a person is no stall: so often it says so."""
NO_ANSWER = "Nobody answered. Decide by yourself, take the way that is easiest to take back, and say so in the end."
WORD_SECONDS = 300.0
"""How long an agent that was interrupted without a word waits for one."""
GO_ON = "{by} interrupted you and said nothing more. Think again about what you were doing, then go on."


async def ask_people(transcript: Transcript, inbox: Inbox, question: str, options: Sequence[str]) -> Steer | None:
    """The answer of a person, or None when nobody gave one in time."""
    part = transcript.note("question", state="open", text=question, input={"options": list(options)})
    alive = asyncio.create_task(_wait_aloud(transcript, question))
    try:
        async with asyncio.timeout(ASK_SECONDS):
            return await inbox.answer(part.id)
    except TimeoutError:
        transcript.put(part, state="failed", output=NO_ANSWER)
        return None
    except asyncio.CancelledError:
        transcript.put(part, state="failed", output="It was interrupted.")
        raise
    finally:
        alive.cancel()


async def after_interrupt(transcript: Transcript, inbox: Inbox) -> str:
    """An agent was stopped because somebody wants that: what it is told next."""
    words = inbox.take()
    by = next((steer.by for steer in words if steer.kind == "interrupt"), "somebody")
    transcript.settle(why=f"Interrupted by {by}.")
    transcript.begin_answer()
    if not as_heard(words):
        transcript.doing(f"interrupted by {by}; waits for a word")
        words = await inbox.news(WORD_SECONDS)
    transcript.doing("thinking")
    return as_heard(words) or GO_ON.format(by=by)


async def _wait_aloud(transcript: Transcript, question: str) -> None:
    while True:
        transcript.doing(f"waits for an answer: {question}")
        await asyncio.sleep(ALIVE_SECONDS)
