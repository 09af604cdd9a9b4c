"""What agents of OpenCode's are told: the words of all agents, with the names that OpenCode's tools have."""

from agents.runtimes.prompts import instructions, renamed

FINISH = "StructuredOutput"
"""OpenCode's tool for an answer that keeps to a schema."""
NAMES = {"`final_result`": f"`{FINISH}`", "`ask_person`": "`question`"}

GO_ON = """\
Your program was interrupted in the middle of your work and has been started again. Look at what is there,
then go on."""
NOT_FINISHED = f"You have not finished: end by calling `{FINISH}`, once your work is done."
BREAKS = "This breaks the contract:\n{}\nMend all of it, then call `" + FINISH + "` again."


def named(text: str) -> str:
    """A text with the names of OpenCode's tools in the place of ours."""
    return renamed(text, NAMES)


def instructed(role: str) -> str:
    """The standing instructions of a role."""
    return named(instructions(role))
