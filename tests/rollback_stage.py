"""Swarms to roll back: a repository, plans whose nodes have effects outside it, and a worker who undoes them."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agents.contracts import Assignment, Check, FailureOutcome, FailureReason, PlanNode, PlanProposal
from swarms import goals, projects, rollback
from swarms.models import Project, Swarm
from swarms.workspace.git import environment
from tenants.models import Team
from tests.conftest import user_of
from tests.hands import Hands
from tests.invariants import violations


def node(key: str, *after: str, **more: object) -> PlanNode:
    fields = {"title": f"Write {key}", "role": "developer", "instructions": key, "writes": (f"{key}.txt", "list.txt")}
    return PlanNode(key=key, depends_on=after, **(fields | more))  # type: ignore[arg-type]


PLAN = PlanProposal(
    summary="a, then b and c beside each other, then a review.",
    nodes=(
        node("a", compensate="delete the bucket"),
        node("b", "a"),
        node("c", "a", compensate="close the tickets"),
        PlanNode(key="r", title="Review", role="reviewer", instructions="look", depends_on=("b", "c")),
    ),
    acceptance=(Check(name="all", command="test -f a.txt -a -f b.txt -a -f c.txt"),),
)

FAILS = PlanProposal(
    summary="a, then c, then d, whose failure means that both are undone.",
    nodes=(
        node("a", compensate="delete the bucket"),
        node("c", "a", compensate="close the tickets"),
        node("d", "c", on_failure="rollback"),
    ),
)

SHORT = PlanProposal(summary="a, then b.", nodes=(node("a", compensate="delete the bucket"), node("b", "a")))


def git(source: Path, *words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=source, env=environment(), check=True, capture_output=True, text=True
    ).stdout.strip()


class Worker:
    """Writes its own file and its line of a list that all share; says what it was asked to undo."""

    def __init__(self) -> None:
        self.undone: list[str] = []
        self.fails: set[str] = set()
        self.meanwhile: dict[str, Callable[[], object]] = {}
        """What somebody does while the agent works on this key."""
        self.keeps = False
        """When it takes a file back, an empty one stays."""

    def __call__(self, assignment: Assignment, work: Path) -> str | FailureOutcome:
        key = assignment.briefing.split("`")[1]
        self.meanwhile.pop(key, lambda: None)()
        if key in self.fails:
            return FailureOutcome(reason=FailureReason.AGENT_ERROR, message=f"{key} breaks")
        if key.startswith("undo-"):
            self.undone.append(key)
            return f"took {key} back"
        if key.startswith("revert-"):
            return self.revert(key.removeprefix("revert-"), work)
        (work / f"{key}.txt").write_text("good\n")
        names = (work / "list.txt").read_text().split()
        (work / "list.txt").write_text("\n".join([*names, key]) + "\n")
        return f"wrote {key}"

    def revert(self, key: str, work: Path) -> str:
        (work / f"{key}.txt").unlink()
        if self.keeps:
            (work / f"{key}.txt").touch()
        names = (work / "list.txt").read_text().split()
        (work / "list.txt").write_text("\n".join(name for name in names if name != key) + "\n")
        return f"took {key} back by hand"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A repository with one commit."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "list.txt").write_text("begin\n")
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "begin"]):
        git(folder, *words)
    return folder


@pytest.fixture
def project(team: Team, source: Path, settings: object, tmp_path: Path, broker: object) -> Project:
    """A project of acme whose own check passes on every tree, and one that the first commit fails."""
    settings.DATA_DIR = tmp_path / "data"  # type: ignore[attr-defined]
    settings.LOCAL_SOURCES = True  # type: ignore[attr-defined]
    made = projects.add_project(
        name="Lists",
        slug="lists",
        source=str(source),
        checks=[Check(name="list", command="test -f list.txt"), Check(name="a", command="test -f a.txt")],
        by=user_of("alice", "acme"),
    )
    projects.fetch(made.pk)
    made.refresh_from_db()
    return made


@pytest.fixture(autouse=True)
def invariants(project: Project, team: Team) -> Iterator[None]:
    """Whatever a test did, these hold at its end."""
    yield
    assert violations(team.schema_name) == []


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def hands(team: Team, worker: Worker) -> Hands:
    return Hands(team, PLAN, worker, by=user_of("alice", "acme"))


@pytest.fixture
def landed(project: Project, hands: Hands) -> Swarm:
    """A swarm whose work is on the target branch."""
    return land(project, hands)


def land(project: Project, hands: Hands, plan: PlanProposal = SHORT) -> Swarm:
    """State a goal and bring it to the target branch by this plan."""
    hands.plan = plan
    swarm = goals.state_goal(project, "Write the files", by=hands.by)
    hands.run(swarm)
    assert swarm.state == "succeeded", swarm.because
    return swarm


def order(swarm: Swarm) -> list[str]:
    """Keys of the nodes that undo, as they ended."""
    return list(swarm.nodes.exclude(undoes=None).order_by("ended_at").values_list("key", flat=True))


def take_back(swarm: Swarm, hands: Hands) -> None:
    """Ask for a rollback, say yes to everything, and go on until it has ended."""
    rollback.request(swarm, by=hands.by)
    hands.approve_all()
    for _ in range(3):
        hands.run(swarm)
    swarm.refresh_from_db()


def push(source: Path, **files: str) -> None:
    """Somebody else commits to the target branch."""
    for name, text in files.items():
        (source / name).write_text(text)
    git(source, "add", ".")
    git(source, "commit", "-q", "-m", "others go on")


def listed(source: Path) -> list[str]:
    return git(source, "ls-files").split()
