"""An agent asks the people of its team, and waits."""

import asyncio
from collections.abc import Sequence

from agents.contracts.link import Steer
from agents.runtimes.inbox import Inbox
from agents.runtimes.recording import Transcript

ASK_SECONDS = 900.0
"""How long an agent waits for the answer to its question."""
ALIVE_SECONDS = 60.0
"""Who waits for a person is no stall: so often it says so."""
NO_ANSWER = "Nobody answered. Decide by yourself, take the way that is easiest to take back, and say so in the end."


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


async def _wait_aloud(transcript: Transcript, question: str) -> None:
    while True:
        transcript.doing(f"waits for an answer: {question}")
        await asyncio.sleep(ALIVE_SECONDS)
