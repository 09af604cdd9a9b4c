"""A runner without a process: takes placements, does scripted work with real git, and reports through the same verbs.

For tests of the engine. Tests of the runner itself use the real one.
"""

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from django.utils import timezone

from agents import executions
from agents.contracts import (
    Assignment,
    CheckOutcome,
    CheckResult,
    FailureOutcome,
    Outcome,
    PlanOutcome,
    PlanProposal,
    ReviewOutcome,
    WorkOutcome,
)
from swarms import approvals, control, dispatch, engine, landing, merges, projects, reverts
from swarms.models import Approval, Swarm
from swarms.workspace import repos
from swarms.workspace.git import environment
from tenants import tokens, turns
from tenants.models import Due, Placement, Runner, Team, User

Worker = Callable[[Assignment, Path], str | FailureOutcome]


def shell(command: str, folder: Path) -> tuple[int, str]:
    """Run a check as a runner would, without its sandbox."""
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def git(*args: str, folder: Path) -> str:
    """Git in a workspace."""
    return subprocess.run(
        ["git", *args], cwd=folder, env=environment(), capture_output=True, text=True, check=True
    ).stdout.strip()


def _control(swarm: UUID) -> None:
    control.serve()
    turns.settled("step", swarm)


LOOK: dict[str, Callable[[UUID], object]] = {
    "advance": engine.advance,
    "step": _control,
    "merge": merges.process,
    "revert": reverts.process,
    "land": landing.land,
    "fetch": projects.fetch,
}


class Hands:
    """Works for one team until a swarm has ended."""

    def __init__(self, team: Team, plan: PlanProposal, worker: Worker, *, by: User) -> None:
        self.team, self.plan, self.worker, self.by = team, plan, worker, by
        token, _ = tokens.issue("runner")
        self.runner = Runner.objects.create(
            name="hands", token=token, capacity=4, channel="nowhere", seen_at=timezone.now(), sandbox="none"
        )
        self.done: list[str] = []
        self.held: list[Assignment] = []

    def turn(self) -> bool:
        """One round: due things, turns, work, approvals. Returns whether anything happened."""
        busy = False
        Runner.objects.filter(pk=self.runner.pk).update(seen_at=timezone.now())
        for due in Due.objects.filter(team=self.team).filter(kind__in=LOOK):
            verb = {
                "advance": engine.advance,
                "step": lambda swarm: control.serve() or turns.settled("step", swarm),
                "merge": merges.process,
                "revert": reverts.process,
                "land": landing.land,
                "fetch": projects.fetch,
            }
            verb[due.kind](due.subject)
            busy = True
        busy = bool(dispatch.dispatch()) or busy
        for placement in Placement.objects.filter(team=self.team, delivered_at=None):
            assignment = executions.deliver(placement.execution, self.team)
            if assignment is not None:
                self.carry_out(assignment)
                busy = True
        return busy

    def approve_all(self) -> int:
        """Say yes to everything that is asked."""
        pending = list(Approval.objects.filter(state="pending"))
        for approval in pending:
            approvals.approve(approval, by=self.by)
        return len(pending)

    def run(self, swarm: Swarm, *, approve: bool = True, rounds: int = 200) -> None:
        """Go on until the swarm has ended or nothing happens any more."""
        for _ in range(rounds):
            busy = self.turn()
            if approve:
                busy = bool(self.approve_all()) or busy
            swarm.refresh_from_db()
            if swarm.is_ended or not busy:
                return

    def carry_out(self, assignment: Assignment) -> list[str]:
        """Do one assignment and report it."""
        self.done.append(f"{assignment.kind}:{assignment.title}")
        assert executions.accept(assignment.execution, assignment.fence) == "continue"
        return executions.settle(assignment.execution, assignment.fence, self.outcome(assignment))

    def outcome(self, assignment: Assignment) -> Outcome:
        """What comes of it."""
        if assignment.kind == "plan":
            return PlanOutcome(plan=self.plan)
        if assignment.kind == "review":
            return ReviewOutcome(verdict="approve", summary="looks right")
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            self.clone(assignment, work)
            if assignment.kind == "check":
                return self.check(assignment, work)
            said = self.worker(assignment, work)
            if isinstance(said, FailureOutcome):
                return said
            return self.push(assignment, work, said)

    def clone(self, assignment: Assignment, work: Path) -> None:
        """A workspace at the assignment's commit."""
        assert assignment.repository is not None
        bare = repos.path_of(UUID(assignment.repository.url.rsplit("/", 1)[1].removesuffix(".git")))
        git("clone", "--quiet", "--no-checkout", str(bare), ".", folder=work)
        git("checkout", "--quiet", "--detach", assignment.repository.commit, folder=work)

    def check(self, assignment: Assignment, work: Path) -> CheckOutcome:
        """Run each check."""
        assert assignment.repository is not None
        results = []
        for check in assignment.checks:
            code, output = shell(check.command, work)
            results.append(
                CheckResult(
                    name=check.name,
                    command=check.command,
                    commit=assignment.repository.commit,
                    exit_code=code,
                    seconds=0.1,
                    output=output,
                )
            )
        return CheckOutcome(results=tuple(results))

    def push(self, assignment: Assignment, work: Path, summary: str) -> WorkOutcome:
        """Commit everything and push it to the attempt's branch."""
        assert assignment.repository is not None
        git("add", "-A", folder=work)
        git("commit", "--quiet", "--allow-empty", "-m", summary, folder=work)
        branch = f"HEAD:refs/heads/{assignment.repository.branch}"
        # The hook asks for a token's ref; this push stands for one that came through the server.
        unhooked = "--receive-pack=git -c core.hooksPath=/dev/null receive-pack"
        git("push", "--quiet", unhooked, "origin", branch, folder=work)
        return WorkOutcome(commit=git("rev-parse", "HEAD", folder=work), summary=summary)
