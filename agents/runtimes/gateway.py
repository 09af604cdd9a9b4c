"""What an answer of the model gateway means. Pure."""

from agents.contracts import FailureReason

_AWAY = frozenset({429, 502, 503, 504, 529})


def reason_of_status(status: int, body: str) -> FailureReason:
    """Its own no for want of money, a provider that is away, or the provider's no. `body` as text."""
    if status == 402 and "budget_exhausted" in body:
        return FailureReason.BUDGET_EXCEEDED
    # After all retries. It says nothing about the work.
    return FailureReason.PROVIDER_UNAVAILABLE if status in _AWAY else FailureReason.MODEL_ERROR
