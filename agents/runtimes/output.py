"""The output of a command in the transcript, while the command runs."""

import asyncio
import codecs
from collections.abc import Callable

SHOW_SECONDS = 0.5
"""So often what is shown is sent anew, while there is more."""
SHOWN_CHARS = 8_000
"""The end of an output, of which so much is shown while it grows; all that is kept of it comes when it is over."""


class Growing:
    """Takes bytes as a command prints them, and gives their end as text, now and then. Belongs to one event loop."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._tail = ""
        self._left_out = 0
        self._timer: asyncio.TimerHandle | None = None

    def write(self, data: bytes) -> int:
        """The command printed this."""
        text = self._tail + self._decoder.decode(data).replace("\x00", "\N{REPLACEMENT CHARACTER}")
        self._left_out += max(len(text) - SHOWN_CHARS, 0)
        self._tail = text[-SHOWN_CHARS:]
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SHOW_SECONDS, self._tell)
        return len(data)

    def close(self) -> None:
        """Shows nothing more."""
        if self._timer is not None:
            self._timer.cancel()

    def _tell(self) -> None:
        self._timer = None
        self._show(f"[… {self._left_out} characters before …]\n{self._tail}" if self._left_out else self._tail)
