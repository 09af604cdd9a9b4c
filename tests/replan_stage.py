"""A project and a runner for tests that change plans while they are carried out."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from agents import executions
from agents.contracts import Assignment, FailureOutcome, Outcome, PlanNode, PlanOutcome, PlanProposal
from swarms import engine, goals, plan_yaml, projects
from swarms.models import Node, Project, Swarm
from swarms.verify.run import Scope, verify
from swarms.workspace.git import environment
from tenants.models import Team
from tests.conftest import user_of
from tests.hands import Hands
from tests.invariants import violations


def node(key: str, *after: str, **fields: object) -> PlanNode:
    """A node that writes a file of its name."""
    made = PlanNode(
        key=key,
        title=f"Write {key}",
        role="developer",
        instructions=f"{key}.txt",
        depends_on=after,
        writes=(f"{key}.txt",),
    )
    return made.model_copy(update=fields)


def part(key: str, *after: str, **fields: object) -> PlanNode:
    """A node that the coordinator details when its turn has come."""
    return node(key, *after, kind="plan", role="", writes=(), **fields)


def milestone(key: str, *after: str, **fields: object) -> PlanNode:
    """A node that only joins others."""
    return node(key, *after, kind="noop", role="", writes=(), instructions="", **fields)


def plan(*nodes: PlanNode) -> PlanProposal:
    return PlanProposal(summary="Files.", nodes=nodes)


def text(proposal: PlanProposal) -> str:
    """The plan as a person would write it."""
    return plan_yaml.write_yaml(proposal.model_dump(mode="json"))


def writes(assignment: Assignment, work: Path) -> str:
    """Writes the file that the node is named for."""
    key = assignment.briefing.split("`")[1]
    (work / f"{key.rsplit('--', 1)[-1]}.txt").write_text("good\n")
    return f"wrote {key}"


class Crew(Hands):
    """Hands whose coordinator answers each briefing in its own way, and that can hold work back."""

    def __init__(self, team: Team, answer: Callable[[Assignment], PlanProposal | FailureOutcome] | None = None) -> None:
        super().__init__(team, plan(node("unused")), writes, by=user_of("alice", "acme"))
        self.answer = answer
        self.hold: set[str] = set()
        """Keys of nodes that begin and do not end."""
        self.briefings: list[str] = []

    def carry_out(self, assignment: Assignment) -> list[str]:
        if assignment.kind == "plan":
            self.briefings.append(assignment.briefing)
        if _key(assignment) in self.hold:
            self.held.append(assignment)
            executions.accept(assignment.execution, assignment.fence)
            return []
        return super().carry_out(assignment)

    def outcome(self, assignment: Assignment) -> Outcome:
        if assignment.kind == "plan" and self.answer is not None:
            said = self.answer(assignment)
            return said if isinstance(said, FailureOutcome) else PlanOutcome(plan=said)
        return super().outcome(assignment)

    def let_go(self) -> None:
        """Do what was held back."""
        self.hold.clear()
        for assignment in self.held:
            executions.settle(assignment.execution, assignment.fence, self.outcome(assignment))
        self.held.clear()

    def settle_down(self, swarm: Swarm) -> None:
        """Go on, without answering questions, until nothing happens any more."""
        self.run(swarm, approve=False)


def _key(assignment: Assignment) -> str:
    return assignment.briefing.split("`")[1] if "`" in assignment.briefing else ""


def make_project(folder: Path, settings: object, **fields: object) -> Project:
    """A project of acme with an empty repository and no checks."""
    source = folder / "source"
    source.mkdir()
    (source / "README").write_text("files\n")
    for args in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "begin"]):
        subprocess.run(["git", *args], cwd=source, env=environment(), check=True)
    settings.DATA_DIR = folder / "data"  # type: ignore[attr-defined]
    settings.LOCAL_SOURCES = True  # type: ignore[attr-defined]
    made = projects.add_project(name="Files", slug="files", source=str(source), by=user_of("alice", "acme"))
    projects.fetch(made.pk)
    Project.objects.filter(pk=made.pk).update(**fields)
    made.refresh_from_db()
    return made


def begin(project: Project, hands: Hands, proposal: PlanProposal) -> Swarm:
    """A swarm that runs this plan; nothing of it has begun."""
    swarm = goals.state_goal(project, "Write the files", by=hands.by)
    goals.give_plan(swarm, text(proposal), by=hands.by)
    if project.approve_plan:
        hands.approve_all()
    engine.advance(swarm.pk)
    swarm.refresh_from_db()
    assert swarm.state == "running", swarm.because
    return swarm


def states(swarm: Swarm) -> dict[str, str]:
    """The state of every node, by its key."""
    return dict(Node.objects.filter(swarm=swarm).order_by("key").values_list("key", "state"))


def wrong(team: Team) -> list[str]:
    """Everything that does not hold in a team, by both who look: the tests' own eyes and `manage.py verify`."""
    report = verify([("acme", team.schema_name)], Scope(replay=True, settle=0))
    return [*violations(team.schema_name), *(f"{one.invariant}: {one.says}" for one in report.violations)]
