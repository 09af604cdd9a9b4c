"""A request to the rehearsal model, and the step of a script that answers it. Nothing is remembered
between requests: the conversation in the request says how far the script has been played.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agents.rehearsal.dialects import spoken
from agents.rehearsal.scenes import Scene, Step, find

NO_SCENE = "rehearsal_has_no_scene"

SORRY = (
    "This is a rehearsal: it only knows the sample goal, a reading report for the project textkit, and plays "
    "a script for it. For any other goal connect a model: a team under Settings, Providers of models; all teams with "
    "WAGGLE_MODEL_BASE_URL, WAGGLE_MODEL_NAME and WAGGLE_MODEL_API_KEY."
)


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Message(_Open):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None

    @property
    def text(self) -> str:
        """The message's text, whether it came whole or in parts."""
        if isinstance(self.content, list):
            return "\n".join(str(part.get("text", "")) for part in self.content)
        return self.content or ""


class Function(_Open):
    name: str


class Tool(_Open):
    function: Function


class StreamOptions(_Open):
    include_usage: bool = False


class Request(_Open):
    """A chat completion request, as far as a script cares."""

    messages: list[Message] = Field(min_length=1)
    tools: list[Tool] = []
    stream: bool = False
    stream_options: StreamOptions | None = None


class Refused(Exception):
    """The request gets an error. `code` is OpenAI's error code; the text is for people."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Turn:
    """What to answer: a step, and where it stands in which scene."""

    scene: str
    played: int
    step: Step


def read(body: bytes) -> Request:
    """The request in a body; raises Refused (400) naming the field that is wrong."""
    try:
        return Request.model_validate_json(body)
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(str(place) for place in fault["loc"]) or "body"
        raise Refused(400, "invalid_request_error", f"{field}: {fault['msg']}") from error


def turn(request: Request, scenes: Iterable[Scene]) -> Turn:
    """Choose the answer; raises Refused when it would need a script or tools that are not there."""
    start = next((at for at, message in enumerate(request.messages) if message.role == "user"), None)
    scene = find(scenes, request.messages[start].text) if start is not None else None
    if start is None or scene is None:
        if request.tools:
            raise Refused(400, NO_SCENE, SORRY)
        return Turn("none", 0, Step(say=SORRY))
    played = sum(message.role == "assistant" for message in request.messages[start:])
    offered = {tool.function.name for tool in request.tools}
    step = spoken(scene.step(played), offered)
    missing = sorted({call.tool for call in step.call} - offered)
    if missing:
        lacking = f"The rehearsal's script uses tools that this request does not offer: {', '.join(missing)}."
        raise Refused(400, NO_SCENE, f"{lacking} {SORRY}")
    return Turn(scene.name, played, step)
