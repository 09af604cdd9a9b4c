"""Wake those who work on a swarm: a hint now, and a due time in case that the hint gets lost."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from tenants import turns
from tenants.messages import send_on_commit

LOST_HINT = timedelta(seconds=1.5)
"""After this long the reconciler acts without a hint."""


def advance(swarm: UUID) -> None:
    """Something changed in a swarm: decide again."""
    turns.due("advance", swarm, after=LOST_HINT)
    send_on_commit("advance", str(swarm))


def merge(swarm: UUID) -> None:
    """Something is in a swarm's merge queue."""
    turns.due("merge", swarm, after=LOST_HINT)
    send_on_commit("merge", str(swarm))


def land(swarm: UUID) -> None:
    """A swarm may land."""
    turns.due("land", swarm, after=LOST_HINT)
    send_on_commit("land", str(swarm))


def step(swarm: UUID) -> None:
    """Nodes of a swarm wait for the control plane itself."""
    turns.due("step", swarm, after=LOST_HINT)
    follower = _follower.get()
    if follower and follower.swarm == swarm:
        follower.is_wanted = True
    else:
        send_on_commit("step", str(swarm))


@dataclass
class Follower:
    """Who serves a swarm's nodes in the control lane right after, without a message; `is_wanted` when there are any."""

    swarm: UUID
    is_wanted: bool = False


_follower: ContextVar[Follower | None] = ContextVar("follower", default=None)


@contextmanager
def followed(by: Follower | None) -> Iterator[None]:
    """Inside, no message tells of the follower's nodes; with none, everything is told as usual."""
    before = _follower.set(by)
    try:
        yield
    finally:
        _follower.reset(before)


def revert(swarm: UUID) -> None:
    """Merged work of a swarm must be taken back."""
    turns.due("revert", swarm, after=LOST_HINT)
    send_on_commit("revert", str(swarm))


def fetch(project: UUID) -> None:
    """A project's repository must be copied."""
    turns.due("fetch", project, after=LOST_HINT)
    send_on_commit("fetch", str(project))


def dispatch() -> None:
    """A ticket was queued, or a runner has room. (The ticker dispatches at every tick anyhow.)"""
    send_on_commit("dispatch")
