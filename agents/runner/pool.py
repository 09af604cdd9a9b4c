"""The executions that this runner carries out, each in a child process of its own."""

import asyncio
import multiprocessing
from collections.abc import Awaitable
from pathlib import Path
from uuid import UUID

import structlog

from agents.contracts import Assignment, FailureOutcome, FailureReason
from agents.contracts.link import Accepted, Beat, Ended, Heartbeat, Leaving, Order, Rescue
from agents.runner import entry
from agents.runner.ahead import Ahead
from agents.runner.disk import remove
from agents.runner.execution import STOP_SECONDS, Execution
from agents.runner.forked import Child
from agents.runner.leftovers import Leftovers
from agents.runner.mirror import MIRRORS
from agents.runner.offers import Offers, Send
from agents.runner.reports import Faults, Refused, Reports, Stale
from agents.runner.sandbox import WALLED, Sandbox
from agents.runner.saving import SAVE_SECONDS, Saving
from agents.runner.spares import Spares
from tenants.faults import crash_point

log = structlog.get_logger(__name__)

ROOM_SECONDS = 5.0
"""How long an assignment waits for a place that should be free."""
HAND_BACK_SECONDS = STOP_SECONDS + SAVE_SECONDS
"""How long those who hand their work back may take to it: their processes, and then we in their place."""
END_SECONDS = 2.0
"""How long it may take then to put aside what could not be pushed. Together that is less than the ten seconds after
which containers are killed."""


class Pool:
    """Takes assignments up to a capacity. `send` brings messages to the control plane, when it is there."""

    def __init__(
        self,
        address: str,
        folder: Path,
        capacity: int,
        sandbox: Sandbox,
        log_format: str,
        kept: Leftovers,
        send: Send,
        spares: int = 0,
        ahead_bytes: int = 0,
    ) -> None:
        self.capacity = capacity
        self._folder = folder
        self._kept = kept
        self.offers = Offers(kept, send)
        self._address = address
        self._sandbox = sandbox
        self._log_format = log_format
        self._send = send
        self.leaving = False
        """It ends what it has, and takes nothing more."""
        self._executions: dict[UUID, Execution] = {}
        self._waiting: dict[UUID, Assignment] = {}
        self._room = asyncio.Semaphore(capacity)
        self._tasks: set[asyncio.Task[None]] = set()
        self._saving = Saving(kept, send)
        self._processes = multiprocessing.get_context("forkserver")
        self._processes.set_forkserver_preload([entry.PRELOAD])
        self._starting = asyncio.Lock()
        self.ahead = Ahead(folder / MIRRORS, capacity, ahead_bytes)
        self.spares = Spares(spares if sandbox in WALLED else 0, folder, self._fork_spare)

    async def warm(self) -> None:
        """Starts the process that children are forked from, with everything imported; then keeps spares, for ever."""
        process = self._processes.Process(target=int)
        async with self._starting:
            await asyncio.to_thread(process.start)
        await asyncio.to_thread(process.join)
        await self.spares.keep()

    @property
    def holding(self) -> tuple[UUID, ...]:
        """The executions that go on here, or are about to."""
        return (*self._executions, *self._waiting)

    @property
    def heartbeat_seconds(self) -> float:
        """The shortest interval that an assignment asks for."""
        return min((one.assignment.heartbeat_seconds for one in self._executions.values()), default=10)

    def beats(self) -> tuple[Beat, ...]:
        """What the heartbeat says about each execution."""
        begun = tuple(
            Beat(
                execution=one.assignment.execution,
                fence=one.assignment.fence,
                progress=one.progress,
                taken=tuple(one.taken),
            )
            for one in self._executions.values()
        )
        return begun + tuple(Beat(execution=one.execution, fence=one.fence) for one in self._waiting.values())

    async def beat(self) -> None:
        """A heartbeat now."""
        await self._send(Heartbeat(executions=self.beats(), spares=self.spares.ready))

    def take(self, assignment: Assignment) -> None:
        """Begins with an assignment, in the background; one that it holds already is only confirmed."""
        assignment = assignment.by_way_of(self._address)
        held = self._executions.get(assignment.execution)
        if held is not None:
            self._spawn(self._send(Accepted(execution=assignment.execution, fence=held.assignment.fence)))
        elif assignment.execution not in self._waiting:
            self._waiting[assignment.execution] = assignment
            crash_point("runner.assigned")
            self._spawn(self._admit(assignment))

    def obey(self, orders: dict[UUID, Order]) -> None:
        """Does what the control plane says about each execution."""
        for execution, order in orders.items():
            if (one := self._executions.get(execution)) is None:
                continue
            match order.verdict:
                case "continue":
                    one.tell(order)
                case "cancel":
                    one.stop(FailureReason.CANCELLED)
                case "stale":
                    one.kill()

    async def drain(self, seconds: float) -> None:
        """Takes nothing more, and waits so long for the end of what goes on."""
        self.leaving = True
        await self._send(Leaving())
        await self.ahead.close()
        await self.spares.close()
        if self._tasks and seconds:
            log.info("waits for what goes on here", executions=len(self.holding), seconds=seconds)
            await asyncio.wait(self._tasks, timeout=seconds)

    async def close(self) -> None:
        """Ends all executions without an outcome, their work on their branches: others shall take them over."""
        self.leaving = True
        for one in self._executions.values():
            one.hand_back()
        await self.ahead.close()
        await self.spares.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=HAND_BACK_SECONDS)
        for one in self._executions.values():
            one.kill()
        self._saving.give_up()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=END_SECONDS)

    def rescue(self, order: Rescue) -> None:
        """Pushes what is kept of an execution."""
        self._spawn(self.offers.rescue(order))

    def forget(self, execution: UUID) -> None:
        """Removes what is kept of an execution."""
        self._spawn(asyncio.to_thread(self._kept.forget, execution))

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _admit(self, assignment: Assignment) -> None:
        # The control plane gives a place away as soon as an outcome is in; the child that sent it ends a bit later.
        try:
            await asyncio.wait_for(self._room.acquire(), 0 if self.leaving else ROOM_SECONDS)
        except TimeoutError:
            log.warning("no room for an assignment", execution=str(assignment.execution))
            await self._send(Ended(execution=assignment.execution, because="leaving" if self.leaving else "full"))
            return
        finally:
            del self._waiting[assignment.execution]
        try:
            spare = self.spares.take(assignment)
            folder = spare.folder if spare else self._folder / str(assignment.execution)
            one = Execution(assignment, folder, self.take, lambda: self._spawn(self.beat()))
            one.killed = self.leaving
            self._executions[assignment.execution] = one
            await self._carry(one, spare)
        finally:
            self._room.release()

    async def _carry(self, one: Execution, spare: Child | None) -> None:
        """From the child's start to the removal of its folder."""
        assignment = one.assignment
        words = {"execution": str(assignment.execution), "subject": assignment.subject, "trace": assignment.trace}
        log.info("assignment accepted", kind=assignment.kind, **words)
        is_safe = False
        try:
            await self._send(Accepted(execution=assignment.execution, fence=assignment.fence))
            self.ahead.used(assignment.repository)
            try:
                failure = await self._watch(one, spare)
            finally:
                is_safe = await self._saving.save(one)
            if failure is not None:
                log.warning("a child left no outcome", reason=failure.reason, message=failure.message, **words)
                await self._report(assignment, failure)
        except Exception:
            log.exception("an assignment could not be carried out", **words)
        finally:
            del self._executions[assignment.execution]
            crash_point("runner.cleaning")
            if is_safe:
                await asyncio.to_thread(remove, one.folder)
            log.info("assignment ended", **words)
            self.ahead.used(assignment.repository)
            await self._send(Ended(execution=assignment.execution, because="leaving" if self.leaving else "over"))
            await self.offers.offer()

    async def _watch(self, one: Execution, spare: Child | None) -> FailureOutcome | None:
        """Runs the child to its end; what must be reported in its place, if anything."""
        async with self._starting:
            if one.killed:
                if spare is not None:
                    spare.kill()
                return None
            try:
                one.begin(await self._child(one, spare))
            except BaseException:
                if spare is not None:
                    spare.kill()  # nobody else knows of it
                raise
        try:
            async with asyncio.timeout(one.assignment.time_limit):
                await one.ended.wait()
        except TimeoutError:
            one.stop(FailureReason.TIMED_OUT)
            await one.ended.wait()
        return one.verdict()

    async def _child(self, one: Execution, spare: Child | None) -> Child:
        """A process that has the assignment: the spare, or a new one."""
        self._kept.note(one.assignment, one.folder)
        text = one.assignment.model_dump_json()
        if spare is not None and await asyncio.to_thread(spare.say, "assignment", text):
            return spare
        words = (text, one.folder, self._sandbox, self._log_format)
        name = f"waggle-{one.assignment.execution}"
        return await Child.fork(self._processes, entry.main, one.folder, *words, name=name)

    async def _fork_spare(self, runtime: str, folder: Path) -> Child:
        """A child that waits for an assignment; see agents.runner.spares."""
        words = (runtime, folder, self._sandbox, self._log_format)
        async with self._starting:
            return await Child.fork(self._processes, entry.spare, folder, *words, name=f"waggle-{folder.name}")

    async def _report(self, assignment: Assignment, failure: FailureOutcome) -> None:
        reports = Reports(assignment, on_next=self.take)
        try:
            await reports.outcome(failure)
        except (Stale, Faults, Refused) as error:
            log.info("a failure was not taken", execution=str(assignment.execution), because=str(error))
        finally:
            await reports.close()
