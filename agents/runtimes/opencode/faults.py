"""What an error of OpenCode's means for an attempt."""

from agents.contracts import FailureReason
from agents.opencode.found import Data
from agents.opencode.shapes import mapping, words
from agents.runtimes.gateway import reason_of_status
from agents.runtimes.recording import Transcript

PROVIDER_TRIES = 8
"""OpenCode asks a provider that is away for ever; so often is enough."""


class Failed(Exception):
    """The attempt brought no result, for a reason that has a name."""

    def __init__(self, reason: FailureReason, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.detail = detail


def failed(error: Data) -> Failed:
    """A session's error in our words."""
    data = mapping(error.get("data"))
    name, said, body = words(error.get("name")), words(data.get("message")), words(data.get("responseBody"))
    status = data.get("statusCode")
    if isinstance(status, int):
        message = f"The model's provider answered HTTP {status}: {said or body or 'no explanation'}"
        return Failed(reason_of_status(status, body), message, body)
    if name in ("APIError", "ProviderAuthError", "ContextOverflowError", "MessageOutputLengthError"):
        return Failed(FailureReason.MODEL_ERROR, f"The model could not be asked: {said or name}", body)
    return Failed(FailureReason.AGENT_ERROR, f"OpenCode gave up: {said or name}", words(error))


def bear(status: Data, transcript: Transcript) -> None:
    """A provider that is away is borne for a while; `status` is the session's. Raises Failed."""
    if status.get("type") == "retry":
        said = words(status.get("message"))
        transcript.doing(f"the model is asked again: {said}")
        if int(status.get("attempt") or 0) >= PROVIDER_TRIES:
            raise Failed(FailureReason.PROVIDER_UNAVAILABLE, f"The model's provider is away: {said}")
