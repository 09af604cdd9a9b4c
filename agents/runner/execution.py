"""One child process as its runner sees it: started, listened to, stopped."""

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
from uuid import UUID

from agents.contracts import Assignment, FailureOutcome, FailureReason
from agents.contracts.link import Order
from agents.runner import entry
from agents.runner.processes import kill_mentioning, kill_tree
from agents.runner.sandbox import Sandbox

STOP_SECONDS = 5
ERROR_LINES = 20


class Execution:
    """An assignment and the process that carries it out."""

    def __init__(
        self,
        assignment: Assignment,
        folder: Path,
        on_next: Callable[[Assignment], None],
        on_taken: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_next` takes what the runner shall do after this, which the child was given with its answer; `on_taken`
        is called when the agent has taken what somebody said to it."""
        self.assignment = assignment
        self.folder = folder
        self._on_next = on_next
        self._on_taken = on_taken
        self.taken: set[UUID] = set()
        """Words that the agent has, and that the control plane does not know of yet."""
        self.progress = 0
        self.killed = False
        """It was ended without regard to its outcome."""
        self.delivered = False
        """Its outcome was accepted, so that it owes nothing."""
        self.ended = asyncio.Event()
        self._reported = False
        self._reason: FailureReason | None = None
        self._order: Order | None = None
        self._errors: deque[str] = deque(maxlen=ERROR_LINES)
        self._rest = b""
        self._process: ForkServerProcess | None = None
        self._control: Connection | None = None

    async def start(self, processes: ForkServerContext, sandbox: Sandbox, log_format: str) -> None:
        """Forks the child and begins to listen to it."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._control, theirs = processes.Pipe()
        errors, their_errors = processes.Pipe(duplex=False)
        text = self.assignment.model_dump_json()
        self._process = processes.Process(
            target=entry.main,
            args=(text, self.folder, sandbox, log_format, theirs, their_errors),
            name=f"waggle-{self.assignment.execution}",
        )
        await asyncio.to_thread(self._process.start)
        theirs.close()
        their_errors.close()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._control.fileno(), self._hear, self._control)
        loop.add_reader(errors.fileno(), self._read_errors, errors)
        loop.add_reader(self._process.sentinel, self._end, self._process, self._control, errors)
        if self.killed:
            self.kill()
        elif self._reason is not None:
            self._say("stop", self._reason.value)
        elif self._order is not None:
            self._tell(self._order)

    def stop(self, reason: FailureReason) -> None:
        """Asks the child to stop and to report why; after a while it is killed."""
        if self._reason is None:
            self._reason = reason
            self._say("stop", reason.value)
            asyncio.get_running_loop().call_later(STOP_SECONDS, self._kill_process)

    def tell(self, order: Order) -> None:
        """Passes on what the child should know, when it is something new."""
        self.taken &= {steer.id for steer in order.steer}
        if order != self._order:
            self._order = order
            self._tell(order)

    def hand_back(self) -> None:
        """Asks the child to save what its agent has changed, and to end without an outcome; after a while it is
        killed."""
        self.killed = True
        self._say("hand back")
        asyncio.get_running_loop().call_later(STOP_SECONDS, self._kill_process)

    def kill(self) -> None:
        """Ends the child at once; nobody wants its outcome."""
        self.killed = True
        self._kill_process()

    def verdict(self) -> FailureOutcome | None:
        """What the runner must report in the place of a child that left nothing."""
        if self._reported or self.killed:
            return None
        if self._reason is not None:
            return FailureOutcome(reason=self._reason, message=entry.STOP_MESSAGES[self._reason])
        code = self._process.exitcode if self._process else None
        return FailureOutcome(
            reason=FailureReason.AGENT_ERROR,
            message=f"The agent's process died without a word (exit code {code}).",
            detail="\n".join(self._errors),
        )

    def _tell(self, order: Order) -> None:
        self._say("told", order.pause, order.budget_left, [steer.model_dump_json() for steer in order.steer])

    def _say(self, *words: object) -> None:
        if self._control is not None and not self._control.closed:
            try:
                self._control.send(words)
            except OSError:  # it just ended; its sentinel says so
                self._kill_process()

    def _kill_process(self) -> None:
        if self._process is not None and self._process.pid and not self.ended.is_set():
            kill_tree(self._process.pid)

    def _hear(self, control: Connection) -> bool:
        """Takes one message of the child; False when there is none left."""
        try:
            if not control.poll():
                return False
            match control.recv():
                case ("progress", int(count)):
                    self.progress = count
                case ("taken", str(steer)):
                    self.taken.add(UUID(steer))
                    self._on_taken()
                case ("next", str(text)):
                    self._on_next(Assignment.model_validate_json(text))
                case ("ended", bool(delivered)):
                    self._reported, self.delivered = True, delivered
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(control.fileno())
            return False
        return True

    def _read_errors(self, errors: Connection) -> bool:
        """Passes the child's log on, and keeps its last lines; False when there is nothing left."""
        data = os.read(errors.fileno(), 65_536) if errors.poll() else b""
        if not data:
            asyncio.get_running_loop().remove_reader(errors.fileno())
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            text = line.decode("utf-8", "replace")
            self._errors.append(text)
            print(text, file=sys.stderr, flush=True)
        return bool(data)

    def _end(self, process: ForkServerProcess, control: Connection, errors: Connection) -> None:
        """The child is gone: takes what is left in the pipes, and ends what it left behind."""
        loop = asyncio.get_running_loop()
        for reader in (process.sentinel, control.fileno(), errors.fileno()):
            loop.remove_reader(reader)
        while self._hear(control):
            continue
        while self._read_errors(errors):
            continue
        assert process.pid is not None
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if not self._reported:
            # A sandbox whose child died while it was being set up is nobody's: it is known by the folders it shows.
            kill_mentioning(self.folder)
        process.join()
        control.close()
        errors.close()
        self.ended.set()
