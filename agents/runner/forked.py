"""A process forked warm, with a line to it in both directions; what it logs is passed on."""

import asyncio
import os
import signal
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

from agents.runner.processes import kill_tree

ERROR_LINES = 20
Message = tuple[object, ...]


class Child:
    """One such process. Make it with `await Child.fork(...)`."""

    def __init__(self, process: ForkServerProcess, folder: Path, control: Connection, errors: Connection) -> None:
        assert process.pid is not None
        self.folder = folder
        """Its own, in which all that it starts works."""
        self.pid = process.pid
        self.last_lines: deque[str] = deque(maxlen=ERROR_LINES)
        self.exit_code: int | None = None
        self.has_ended = False
        self._process = process
        self._control = control
        self._errors = errors
        self._rest = b""
        self._unheard: list[Message] = []
        self._on_message: Callable[[Message], None] = self._unheard.append
        self._on_end: Callable[[], None] = lambda: None
        loop = asyncio.get_running_loop()
        loop.add_reader(control.fileno(), self._hear)
        loop.add_reader(errors.fileno(), self._read_errors)
        loop.add_reader(process.sentinel, self._end)

    @classmethod
    async def fork(
        cls, processes: ForkServerContext, target: Callable[..., None], folder: Path, *arguments: Any, name: str
    ) -> "Child":
        """Runs `target(*arguments, control, errors)` in a process of its own, with `folder` made for it."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        control, theirs = processes.Pipe()
        errors, their_errors = processes.Pipe(duplex=False)
        process = processes.Process(target=target, args=(*arguments, theirs, their_errors), name=name)
        await asyncio.to_thread(process.start)
        theirs.close()
        their_errors.close()
        return cls(process, folder, control, errors)

    def listen(self, on_message: Callable[[Message], None], on_end: Callable[[], None]) -> None:
        """Hears from now on; of what was said before, too, unless somebody else has heard it."""
        self._on_message, self._on_end = on_message, on_end
        unheard, self._unheard = self._unheard, []
        for message in unheard:
            on_message(message)
        if self.has_ended:
            on_end()

    def wait(self) -> None:
        """What it says from now on waits until somebody listens."""
        self._on_message, self._on_end = self._unheard.append, lambda: None

    def say(self, *words: object) -> bool:
        """Sends a message; False when it is gone."""
        if self.has_ended:
            return False
        try:
            self._control.send(words)
        except OSError:  # it just ended; its sentinel says so
            self.kill()
            return False
        return True

    def kill(self) -> None:
        """Ends it at once, with all that it started."""
        if not self.has_ended:
            kill_tree(self.pid)

    def _hear(self) -> bool:
        """Takes one message; False when there is none left."""
        try:
            if not self._control.poll():
                return False
            message = self._control.recv()
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            return False
        self._on_message(message)
        return True

    def _read_errors(self) -> bool:
        """Passes its log on, and keeps the last lines; False when there is nothing left."""
        data = os.read(self._errors.fileno(), 65_536) if self._errors.poll() else b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._errors.fileno())
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            text = line.decode("utf-8", "replace")
            self.last_lines.append(text)
            print(text, file=sys.stderr, flush=True)
        return bool(data)

    def _end(self) -> None:
        """It is gone: takes what is left in the pipes, and ends what it left behind."""
        loop = asyncio.get_running_loop()
        for reader in (self._process.sentinel, self._control.fileno(), self._errors.fileno()):
            loop.remove_reader(reader)
        while self._hear():
            continue
        while self._read_errors():
            continue
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.join()
        self.exit_code = self._process.exitcode
        self._control.close()
        self._errors.close()
        self.has_ended = True
        self._on_end()
