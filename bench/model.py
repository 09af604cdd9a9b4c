"""A scripted model for measuring, as an ASGI application: answers at once, or takes its time in a known way.

Real in all but the thinking: an OpenAI-compatible endpoint that streams, asked through the platform's gateway.
"""

from agents.rehearsal import completions
from agents.rehearsal.app import Rehearsal
from agents.rehearsal.scenes import Call, Scene, Step, load
from agents.rehearsal.talk import Turn

QUICK, SLOW, WRITES = "answer at once", "answer slowly", "write a file"
"""Titles of nodes, by which it knows what to answer."""
SLOW_SECONDS = 30.0
_VERDICT = Call(tool="final_result", args={"verdict": "approve", "summary": "Nothing had to be done."})
_WORDS = "word " * 84


def _scene(title: str, *steps: Step, key: str = "[^`]*") -> Scene:
    return Scene.model_validate({"name": title, "when": [rf"\A# Node `{key}`: {title}$"], "steps": steps})


def _at_once(*calls: Call) -> Step:
    return Step(call=calls, pause=0, chunk_delay=0)


def _slowly() -> Step:
    """An answer that streams for SLOW_SECONDS, a few words a second, and then says its verdict."""
    even = Step(say=_WORDS, call=(_VERDICT,), pause=0, chunk_delay=1)
    pieces = completions.seconds(Turn(SLOW, 0, even))
    return even.model_copy(update={"chunk_delay": SLOW_SECONDS / pieces})


SCENES = (
    _scene(QUICK, _at_once(_VERDICT)),
    _scene(SLOW, _slowly()),
    *(
        _scene(
            WRITES,
            _at_once(Call(tool="write_file", args={"path": f"part{number}.txt", "content": "written\n"})),
            _at_once(Call(tool="final_result", args={"summary": "It is written."})),
            key=f"n{number}",
        )
        for number in range(100)
    ),
)
application = Rehearsal((*SCENES, *load()))
