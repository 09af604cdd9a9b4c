"""One execution in a process of its own, forked warm. It ends when its runner does, however that ends."""

import asyncio
import os
import signal
import threading
import traceback
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog

from agents.contracts import Assignment, FailureOutcome, FailureReason, Outcome
from agents.contracts.link import Steer
from agents.runner import leftovers
from agents.runner.entry import STOP_MESSAGES
from agents.runner.processes import kill_tree
from agents.runner.reports import Faults, Refused, Reports, Stale
from agents.runner.sandbox import Sandbox, SandboxMissing
from agents.runner.workspace import WorkspaceError
from agents.runtimes import readies, runtime_of
from agents.runtimes.context import Context, Ready, Told
from agents.runtimes.inbox import Inbox
from agents.runtimes.recording import Transcript
from tenants.logs import bind, configure

log = structlog.get_logger(__name__)

PROGRESS_SECONDS = 0.25
SAVE_SECONDS = 1.5
"""For how long a child that ends tries to reach the control plane with what is left: it is killed soon."""
Stopping = asyncio.Future[FailureReason | None]
"""Why an execution stops; None: it is handed back."""


@dataclass(frozen=True)
class Heard:
    """What the runner says."""

    stopping: Stopping
    told: Told
    assigned: asyncio.Future[str]
    """What a process shall do that was started before somebody knew."""


def main(text: str, folder: Path, sandbox: Sandbox, log_format: str, control: Connection, errors: Connection) -> None:
    """Body of the process: carries out the assignment given as JSON.

    Over `control` it sends ("progress", n), ("taken", id) of words that its agent has, ("next", assignment) when it was
    given that to pass on, and at the end ("ended", whether its outcome was a result); it takes ("stop", reason),
    ("hand back",) and ("told", pause, budget_left, words).
    `errors` becomes its standard error.
    """
    _settle(log_format, errors)
    assignment = Assignment.model_validate_json(text)

    async def work() -> bool:
        return await _carry_out(assignment, folder, sandbox, control, _listen(control))

    control.send(("ended", asyncio.run(work())))


def spare(
    runtime: str, folder: Path, sandbox: Sandbox, log_format: str, control: Connection, errors: Connection
) -> None:
    """Body of a process that gets what a runtime needs ready, says ("ready",), and takes ("assignment", JSON) then: the
    rest is as above. It ends without a word when what it has got ready is broken before."""
    _settle(log_format, errors)

    async def work() -> bool | None:
        heard = _listen(control)
        async with AsyncExitStack() as stack:
            try:
                ready = await stack.enter_async_context(readies(runtime)(folder, sandbox))
            except Exception as error:
                log.warning("a spare cannot be had", runtime=runtime, because=f"{type(error).__name__}: {error}")
                return None
            control.send(("ready",))
            failing = asyncio.create_task(ready.broken())
            await asyncio.wait({heard.assigned, failing}, return_when=asyncio.FIRST_COMPLETED)
            failing.cancel()
            if not heard.assigned.done():
                log.warning("a spare is broken", runtime=runtime, because=failing.result())
                return None
            assignment = Assignment.model_validate_json(heard.assigned.result())
            return await _carry_out(assignment, folder, sandbox, control, heard, ready)

    if (delivered := asyncio.run(work())) is not None:
        control.send(("ended", delivered))


def _settle(log_format: str, errors: Connection) -> None:
    os.setsid()
    os.umask(0o077)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.dup2(errors.fileno(), 2)
    configure("runner", log_format)


def _listen(control: Connection) -> Heard:
    loop = asyncio.get_running_loop()
    heard = Heard(loop.create_future(), Told(inbox=Inbox(_taken(control))), loop.create_future())
    threading.Thread(target=_obey, args=(control, loop, heard), daemon=True).start()
    return heard


async def _carry_out(
    assignment: Assignment,
    folder: Path,
    sandbox: Sandbox,
    control: Connection,
    heard: Heard,
    ready: Ready | None = None,
) -> bool:
    """Returns whether an outcome was accepted that is a result."""
    bind(
        team=assignment.team,
        subject=assignment.subject,
        attempt=assignment.attempt,
        execution=str(assignment.execution),
        trace=assignment.trace,
    )
    reports = Reports(assignment, _progress(control), lambda follows: control.send(("next", follows.model_dump_json())))
    try:
        outcome = await _work(assignment, Context(folder, sandbox, reports, heard.told, ready), heard.stopping)
        if reports.accepted:
            return True
        if outcome is None or isinstance(outcome, FailureOutcome):
            await _keep(assignment, folder, reports)
        if outcome is not None:
            await _report(reports, outcome)
        return outcome is not None and not isinstance(outcome, FailureOutcome)
    except Stale as error:
        log.info("nobody waits for this any more", because=str(error))
        return False
    finally:
        await reports.close()


async def _work(assignment: Assignment, context: Context, stopping: Stopping) -> Outcome | None:
    """Lets the runtime work until it ends, until it is stopped, or until its reports are not wanted.

    None: it is handed back, without an outcome.
    """
    running = asyncio.create_task(_run(assignment, context))
    sending = asyncio.create_task(context.reports.run())
    try:
        ends: set[asyncio.Future[Any]] = {running, sending, stopping}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            return running.result()
        running.cancel()
        await asyncio.wait({running}, timeout=3)
        if stopping.done():
            reason = stopping.result()
            return FailureOutcome(reason=reason, message=STOP_MESSAGES[reason]) if reason else None
        try:
            sending.result()
        except Refused as error:
            return FailureOutcome(reason=FailureReason.AGENT_ERROR, message=str(error))
        raise AssertionError("records are sent for ever")
    finally:
        sending.cancel()
        running.cancel()
        await asyncio.gather(sending, running, return_exceptions=True)


async def _run(assignment: Assignment, context: Context) -> Outcome:
    """The runtime's outcome; whatever breaks in it becomes a failure with a name."""
    log.info("begins", kind=assignment.kind, role=assignment.role)
    try:
        return await runtime_of(assignment).run(assignment, context)
    except Stale:
        raise
    except WorkspaceError as error:
        return FailureOutcome(reason=FailureReason.WORKSPACE_ERROR, message=str(error))
    except SandboxMissing as error:
        return FailureOutcome(reason=FailureReason.SANDBOX_MISSING, message=str(error))
    except Exception as error:
        log.exception("the runtime broke")
        trace = "".join(traceback.format_exception(error))[-4000:]
        message = f"{type(error).__name__}: {error}"
        return FailureOutcome(reason=FailureReason.AGENT_ERROR, message=message, detail=trace)


async def _keep(assignment: Assignment, folder: Path, reports: Reports) -> None:
    """Brings what the agent has changed to the branch of its attempt, and says so in the transcript."""
    transcript = Transcript(reports)
    try:
        if commit := await leftovers.save(assignment, folder, SAVE_SECONDS):
            transcript.begin_answer()
            transcript.note("step", text=f"What the agent had changed is kept on its branch, as {commit}.")
    except WorkspaceError as error:
        log.warning("what an agent left could not be pushed", because=str(error))
    await reports.flush()


async def _report(reports: Reports, outcome: Outcome) -> None:
    try:
        await reports.outcome(outcome)
    except Faults as error:
        message = f"The outcome breaks its contract: {error}"
        detail = outcome.model_dump_json(indent=1)
        await reports.outcome(FailureOutcome(reason=FailureReason.INVALID_OUTPUT, message=message, detail=detail))


def _progress(control: Connection) -> Callable[[int], None]:
    """Tells the runner the count of records, a few times a second at most; the last one is told, too."""
    latest = 0
    waits = False

    def send() -> None:
        nonlocal waits
        waits = False
        with suppress(OSError):  # the runner is gone, and so are we in a moment
            control.send(("progress", latest))

    def tell(count: int) -> None:
        nonlocal latest, waits
        latest = count
        if not waits:
            waits = True
            asyncio.get_running_loop().call_later(PROGRESS_SECONDS, send)

    return tell


def _taken(control: Connection) -> Callable[[UUID], None]:
    """Tells the runner that the agent has what somebody said."""

    def tell(steer: UUID) -> None:
        with suppress(OSError):  # the runner is gone, and so are we in a moment
            control.send(("taken", str(steer)))

    return tell


def _obey(control: Connection, loop: asyncio.AbstractEventLoop, heard: Heard) -> None:
    """Waits for the runner's words; the end of the line means that the runner is gone, and so are we."""
    told = heard.told

    def settle(waiting: asyncio.Future[Any], value: object) -> None:
        if not waiting.done():
            waiting.set_result(value)

    try:
        while True:
            match control.recv():
                case ("assignment", str(text)):
                    loop.call_soon_threadsafe(settle, heard.assigned, text)
                case ("stop", str(reason)):
                    loop.call_soon_threadsafe(settle, heard.stopping, FailureReason(reason))
                case ("hand back",):
                    loop.call_soon_threadsafe(settle, heard.stopping, None)
                case ("told", bool(pause), budget_left, list(steers)):
                    told.pause, told.budget_left = pause, budget_left
                    for text in steers:
                        loop.call_soon_threadsafe(told.inbox.put, Steer.model_validate_json(text))
    except (EOFError, OSError):
        kill_tree(os.getpid())
