"""What agents over the protocol are told, and how their last words are read. Pure."""

import json
from typing import Any

from agents.runtimes.answers import Answer
from agents.runtimes.prompts import instructions, renamed

NAMES = {
    "calling `final_result`": "giving your `final_result`",
    "call it again": "give it again",
    " as a message, or as the answer to `ask_person`:": " as a message:",
    "Ask only what you cannot find out, and what would be dear to get wrong.\n": "",
}
FENCE = "```json"
FORM = """
Your `final_result` is one JSON object in a block that begins with ```json, at the end of your last message, once all of
your work is done. It keeps to this JSON Schema:

{}
"""
GO_ON = """\
Your program was interrupted in the middle of your work and has been started again. Look at what is there,
then go on."""
NOT_FINISHED = "You have not finished. Once your work is done, end your message with your `final_result`.\n"
BREAKS = "This breaks the contract:\n{}\nMend all of it, then give your `final_result` again."
CUT = "Your message was cut off because it was too long. Go on, in shorter messages."


def named(text: str) -> str:
    """A text for agents in the words of this runtime."""
    return renamed(text, NAMES)


def form(answer: type[Answer]) -> str:
    """How an agent that owes such an answer gives it."""
    return FORM.format(json.dumps(answer.model_json_schema()))


def instructed(role: str, answer: type[Answer]) -> str:
    """The standing instructions of a role."""
    return named(instructions(role)) + form(answer)


def answer_in(text: str) -> Any:
    """The last JSON object that a message gives in a block, or that it is as a whole; None when there is none."""
    decoder = json.JSONDecoder()
    found, place = None, text.find(FENCE)
    while place >= 0:
        place += len(FENCE)
        begins = len(text) - len(text[place:].lstrip())
        try:
            value, place = decoder.raw_decode(text, begins)
        except (ValueError, RecursionError):
            value = None
        found = value if isinstance(value, dict) else found
        place = text.find(FENCE, place)
    if found is None and text.strip().startswith("{"):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return None
        found = value if isinstance(value, dict) else None
    return found
