"""Several teams' swarms at once, with real threads: workers, a ticker, runners that misbehave, people who interfere.

Every thread decides by its own seeded dice; what threads do to each other is the machine's, and differs.
"""

import os
import random
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from queue import Empty
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import close_old_connections, connection
from django.utils import timezone
from dramatiq import Message
from dramatiq.broker import MessageProxy
from dramatiq.brokers.stub import StubBroker

from agents import executions, runners
from agents.contracts import (
    Assignment,
    CheckOutcome,
    CheckResult,
    FailureOutcome,
    FailureReason,
    Outcome,
    PlanNode,
    PlanOutcome,
    PlanProposal,
    ReviewOutcome,
    WorkOutcome,
)
from agents.contracts.link import PROTOCOL, Beat, Hello
from agents.models import Execution
from agents.states import LIVE
from swarms import approvals, goals, operations, reconcile
from swarms.models import Approval, Swarm
from swarms.states import SWARM_ENDED
from swarms.workspace import repos
from swarms.workspace.git import git
from tenants import tokens, turns
from tenants.context import PUBLIC, in_schema
from tenants.ids import uuid7
from tenants.models import Due, Runner, Team, User
from tests.conftest import _run

CHANNEL = "nowhere"
PATIENCE = 240.0
"""Seconds after which a swarm that has not ended counts as stuck; no measure of speed."""
NORMAL = (executions.Stale, approvals.NotDecidable, ValidationError)
"""What losing a race looks like to the one who lost."""


def node(key: str, writes: str, *after: str, role: str = "developer", risk: str = "low") -> PlanNode:
    return PlanNode(
        key=key, title=key, role=role, instructions=key, writes=(writes,), depends_on=after, risk=risk  # type: ignore[arg-type]
    )  # fmt: skip


PLAN = PlanProposal(
    summary="Two that meet in one file, one beside them, one that needs all, and a review.",
    nodes=(
        node("a", "list.txt"),
        node("b", "list.txt"),
        node("c", "c.txt"),
        node("d", "d.txt", "a", "b", "c", risk="high"),
        PlanNode(key="r", title="r", role="reviewer", instructions="look", depends_on=("c",)),
    ),
)
BAD = PlanProposal(summary="The same node twice.", nodes=(PLAN.nodes[0], PLAN.nodes[0]))


def commit(project: UUID, base: str, branch: str, path: str, text: str) -> str:
    """A commit with one changed file on a branch of our repository; no clone, for speed."""
    bare = repos.path_of(project)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "text").write_text(text)
        env = {"GIT_INDEX_FILE": os.path.join(folder, "index")}
        blob = git(bare, "hash-object", "-w", os.path.join(folder, "text")).stdout.strip()
        git(bare, "read-tree", base, env=env)
        git(bare, "update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", env=env)
        tree = git(bare, "write-tree", env=env).stdout.strip()
    made = git(bare, "commit-tree", tree, "-p", base, "-m", f"change {path}").stdout.strip()
    repos.set_ref(project, f"refs/heads/{branch}", made)
    return made


class Arena:
    """Threads around some swarms, until all of them have ended."""

    def __init__(self, seed: int, broker: StubBroker, swarms: dict[UUID, Team], people: dict[UUID, list[User]]) -> None:
        self.seed, self.broker, self.swarms, self.people = seed, broker, swarms, people
        self.over = threading.Event()
        self.faults: list[str] = []
        self.calm = threading.Event()
        """From here on nobody interferes any more: whatever is left must come to its end."""

    def run(self, *, calm_after: float) -> None:
        """All threads, until every swarm has ended. Raises AssertionError with every fault."""
        roles: list[tuple[str, Callable[[random.Random], None]]] = [
            *[(f"worker-{n}", self.work) for n in range(3)],
            ("ticker", self.tick),
            *[(f"runner-{n}", self.hands()) for n in range(2)],
            *[(f"person-{n}", self.decide) for n in range(2)],
            ("chaos", self.interfere),
        ]
        threads = [threading.Thread(target=self._keep, args=role, name=role[0], daemon=True) for role in roles]
        for thread in threads:
            thread.start()
        began = time.monotonic()
        while left := self.left():
            if self.faults or time.monotonic() - began > PATIENCE:
                break
            if time.monotonic() - began > calm_after:
                self.calm.set()
            time.sleep(0.1)
        self.settle(began)
        self.over.set()
        for thread in threads:
            thread.join(30)
        assert not self.faults, "\n\n".join(self.faults)
        assert not left, f"stuck: {[str(swarm) + ' ' + swarm.state + ': ' + swarm.because for swarm in left]}"

    def settle(self, began: float) -> None:
        """Wait until nothing is due and no message waits."""
        while not self.faults and time.monotonic() - began < PATIENCE:
            with in_schema(PUBLIC):
                if not Due.objects.exists() and all(queue.empty() for queue in self.broker.queues.values()):
                    return
            time.sleep(0.1)

    def left(self) -> list[Swarm]:
        found = []
        for pk, team in self.swarms.items():
            with in_schema(team.schema_name):
                found.append(Swarm.objects.select_related("project").get(pk=pk))
        return [swarm for swarm in found if swarm.state not in SWARM_ENDED]

    def fault(self, where: str) -> None:
        self.faults.append(f"{where}: {traceback.format_exc()}")

    def _keep(self, name: str, role: Callable[[random.Random], None]) -> None:
        dice = random.Random(f"{self.seed} {name}")
        while not self.over.is_set():
            try:
                role(dice)
            except NORMAL:
                continue
            except Exception:
                self.fault(name)
        close_old_connections()
        connection.close()

    def work(self, dice: random.Random) -> None:
        """One message, as a worker takes it; some get lost, some come twice."""
        try:
            data = self.broker.queues["default"].get(timeout=0.1)
        except Empty:
            return
        self.broker.queues["default"].task_done()
        for _ in range(dice.choices([0, 1, 2], [2, 7, 1])[0]):
            _run(self.broker, MessageProxy(Message.decode(data)))

    def tick(self, dice: random.Random) -> None:
        reconcile.tick()
        time.sleep(0.1)

    def hands(self) -> Callable[[random.Random], None]:
        """A runner: carries out what it is given, not always as it should."""
        token, _ = tokens.issue("runner")
        runner = Runner.objects.create(
            name=f"hands-{uuid7()}", token=token, capacity=4, channel=CHANNEL, seen_at=timezone.now(), sandbox="none"
        )
        held: list[Assignment] = []

        def turn(dice: random.Random) -> None:
            if not self.calm.is_set() and dice.random() < 0.05:
                # It lost its connection, or was started again without what it had.
                kept = tuple(one.execution for one in held) if dice.random() < 0.5 else ()
                hello = Hello(
                    name="hands", boot=uuid7(), capacity=4, sandbox="none", version="1", protocol=PROTOCOL, holding=kept
                )
                runners.disconnect(runner.pk, CHANNEL)
                runners.connect(runner.pk, hello, CHANNEL)
            beats = [Beat(execution=one.execution, fence=one.fence, progress=1) for one in held]
            orders = runners.beats(runner.pk, beats)
            held[:] = [one for one in held if orders[one.execution].verdict == "continue"]
            for assignment in runners.pending(runner.pk, CHANNEL):
                if not self.calm.is_set() and dice.random() < 0.08:
                    held.append(assignment)  # it takes its time
                    continue
                held.extend(self.carry_out(runner, assignment, dice))
            if held and (self.calm.is_set() or dice.random() < 0.2):
                held.extend(self.carry_out(runner, held.pop(), dice))
            time.sleep(0.05)

        return turn

    def carry_out(self, runner: Runner, assignment: Assignment, dice: random.Random) -> list[Assignment]:
        """Begin, work, report: once, twice at the same time, or not at all. What the answer brings, if it arrives."""
        schema = next(team.schema_name for team in self.swarms.values() if team.slug == assignment.team)
        fate = "ok" if self.calm.is_set() else dice.choices(["ok", "twice", "gone", "silent"], [16, 3, 1, 1])[0]
        if fate == "gone":
            return []
        if runners.accepted(runner.pk, assignment.execution, assignment.fence) == "stale" or fate == "silent":
            return []
        with in_schema(schema):
            outcome = self.outcome(assignment, dice)
        reports = [threading.Thread(target=self._report, args=[schema, assignment, outcome])] * (fate == "twice")
        for thread in reports:
            thread.start()
        try:
            with in_schema(schema):
                takes_next = dice.random() < 0.7
                receipt = executions.receive(assignment.execution, assignment.fence, outcome, takes_next=takes_next)
        finally:
            for thread in reports:
                thread.join()
        arrives = self.calm.is_set() or dice.random() < 0.9
        return [receipt.next] if receipt.next and arrives else []

    def _report(self, schema: str, assignment: Assignment, outcome: Outcome) -> None:
        try:
            with in_schema(schema):
                executions.settle(assignment.execution, assignment.fence, outcome)
        except executions.Stale:
            pass
        except Exception:
            self.fault("second report")
        finally:
            connection.close()

    def outcome(self, assignment: Assignment, dice: random.Random) -> Outcome:
        bad = not self.calm.is_set() and dice.random() < 0.1
        if bad and assignment.kind != "check":
            reason = dice.choice([FailureReason.NO_CHANGES, FailureReason.TIMED_OUT, FailureReason.AGENT_ERROR])
            return FailureOutcome(reason=reason, message="dice")
        if assignment.kind == "plan":
            return PlanOutcome(plan=BAD if not self.calm.is_set() and dice.random() < 0.2 else PLAN)
        if assignment.kind == "review":
            return ReviewOutcome(verdict="approve", summary="fine")
        assert assignment.repository is not None
        base = assignment.repository.commit
        if assignment.kind == "check":
            results = [
                CheckResult(name=c.name, command=c.command, commit=base, exit_code=int(bad), seconds=0.1, output="")
                for c in assignment.checks
            ]
            return CheckOutcome(results=tuple(results))
        key = assignment.briefing.split("`")[1]
        project = UUID(assignment.repository.url.rsplit("/", 1)[1].removesuffix(".git"))
        path = assignment.writes[0]
        text = f"{key} {assignment.attempt} on {base}\n"
        made = commit(project, base, assignment.repository.branch, path, text)
        return WorkOutcome(commit=made, summary=f"wrote {path}")

    def decide(self, dice: random.Random) -> None:
        """Everybody answers everything that is asked, at the same time; now and then with no."""
        pk, team = dice.choice(list(self.swarms.items()))
        with in_schema(team.schema_name):
            swarm = Swarm.objects.get(pk=pk)
            for approval in Approval.objects.filter(swarm=pk, state="pending"):
                by = dice.choice(self.people[team.pk])
                if not self.calm.is_set() and dice.random() < 0.1:
                    approvals.reject(approval, by=by, because="dice")
                else:
                    approvals.approve(approval, by=by)
            if swarm.state == "planning" and swarm.plans.order_by("-version")[0].state == "invalid":
                goals.plan_again(swarm, by=self.people[team.pk][0])
        time.sleep(0.1)

    def interfere(self, dice: random.Random) -> None:
        """Pause, resume, cancel, and leases that run out."""
        pk, team = dice.choice(list(self.swarms.items()))
        with in_schema(team.schema_name):
            swarm, by = Swarm.objects.get(pk=pk), self.people[team.pk][0]
            if swarm.state == "paused":
                operations.resume(swarm, by=by)
            if not self.calm.is_set():
                for one in Execution.objects.filter(state__in=LIVE, swarm=pk):
                    if dice.random() < 0.1:
                        expire(one.pk)
                what = dice.choices([operations.pause, operations.cancel, None], [16, 1, 22])[0]
                if what:
                    what(swarm, by=by)
        time.sleep(0.15)


def expire(execution: UUID) -> None:
    """As if its runner had been silent for a whole lease."""
    past = timedelta(seconds=-1)
    Execution.objects.filter(pk=execution, state__in=LIVE).update(lease_until=timezone.now() + past)
    turns.postpone("lease", execution, after=past)
