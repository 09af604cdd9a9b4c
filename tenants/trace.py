"""The trace id: one for everything that follows from one request, through messages, assignments and events. Pure."""

from contextvars import ContextVar
from secrets import token_hex

_trace: ContextVar[str] = ContextVar("trace", default="")


def current_trace() -> str:
    """The trace of this thread or task; empty outside any."""
    return _trace.get()


def begin_trace(trace: str = "") -> str:
    """Continue a trace, or begin one (16 random bytes in hex, as in W3C Trace Context)."""
    trace = trace or token_hex(16)
    _trace.set(trace)
    return trace
