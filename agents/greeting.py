"""Who is let in of those that come with a runner's token: one process at a time, and only who speaks our protocol.

The one that works is not disturbed by another one that came by mistake, with a copied token say: that one is refused,
is told why, and may come again. It is let in as soon as the first is gone: its connection ended, it was silent for more
than a heartbeat, or the other has its folder, which only one process can have. Deciding is pure.
"""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from agents.contracts.link import OLDEST, OUTDATED, PROTOCOL, TAKEN, Hello

SILENT_BEATS = 1.5
"""After so many heartbeats without a word a process gives way to another one."""


class Refused(Exception):
    """A process is not let in, or no longer heard; the text says why, in at most 120 letters of ASCII."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        """With which a websocket is closed; over HTTP it is answered with the status `code` - 4000."""


@dataclass(frozen=True)
class Occupant:
    """The process that was let in last."""

    boot: UUID | None
    """None: there was none, or its token was ended."""
    is_listening: bool
    silent: timedelta | None
    """Since it was last heard; None: never."""


def refusal(hello: Hello, there: Occupant, beat: timedelta) -> Refused | None:
    """Why a process is not let in; None: it is. `beat`: how often processes are heard at least."""
    if hello.protocol < OLDEST:
        return Refused(OUTDATED, f"This runner is too old (protocol {hello.protocol}; wanted: {PROTOCOL}). Update it.")
    if hello.protocol > PROTOCOL:
        text = f"This runner is too new (protocol {hello.protocol}; the platform: {PROTOCOL}). Update the platform."
        return Refused(OUTDATED, text)
    is_other = there.boot is not None and there.boot not in (hello.boot, hello.after)
    is_there = there.is_listening and there.silent is not None and there.silent < SILENT_BEATS * beat
    return taken() if is_other and is_there else None


def taken() -> Refused:
    """Another process has the place."""
    return Refused(TAKEN, "Another process works with this runner's token. End one, or give each a token of its own.")
