"""A swarm from goal to landing, with real git and Postgres; the runner is tests/hands.py."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import transaction
from django.db.utils import IntegrityError
from django.utils import timezone

from agents import executions
from agents.contracts import Assignment, Check, FailureOutcome, FailureReason, PlanNode, PlanProposal, WorkOutcome
from agents.models import Execution
from sessions.models import Event
from swarms import approvals, attempts, dispatch, goals, operations, planner, projects
from swarms.models import Approval, Attempt, CheckRun, Edge, Merge, Node, Project, Swarm
from swarms.workspace.git import environment
from tenants.models import Due, Placement, Team, Ticket, Token
from tests.conftest import user_of
from tests.hands import Hands, shell

PLAN = PlanProposal(
    summary="Two files at once, then one that needs them, then a review.",
    nodes=(
        PlanNode(key="a", title="Write a", role="developer", instructions="a.txt", writes=("a.txt", "list.txt"), checks=(Check(name="a", command="grep -q good a.txt"),)),  # fmt: skip
        PlanNode(key="b", title="Write b", role="developer", instructions="b.txt", writes=("b.txt", "list.txt"), checks=(Check(name="b", command="test -f b.txt"),)),  # fmt: skip
        PlanNode(key="c", title="Join them", role="developer", instructions="c.txt", depends_on=("a", "b"), writes=("c.txt",), risk="high"),  # fmt: skip
        PlanNode(key="r", title="Review", role="reviewer", instructions="look", depends_on=("c",)),
    ),
    acceptance=(Check(name="all", command="test -f a.txt -a -f b.txt -a -f c.txt"),),
)


def worker(assignment: Assignment, work: Path) -> str:
    """Writes what each node asks for: a is wrong at first, a and b change the same line of list.txt."""
    key = assignment.briefing.split("`")[1]
    again = assignment.attempt > 1
    (work / f"{key}.txt").write_text("good\n" if again or key != "a" else "bad\n")
    if key in "ab":
        listed = (work / "list.txt").read_text().strip().strip("[]")
        names = sorted({*filter(None, listed.split(",")), key})
        (work / "list.txt").write_text(f"[{','.join(names)}]\n")
    return f"wrote {key}"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A repository with one commit."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "list.txt").write_text("[]\n")
    for args in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "begin"]):
        subprocess.run(["git", *args], cwd=folder, env=environment(), check=True)
    return folder


@pytest.fixture
def project(team: Team, source: Path, settings: object, tmp_path: Path, broker: object) -> Iterator[Project]:
    """A project of acme whose repository has been copied."""
    settings.DATA_DIR = tmp_path / "data"  # type: ignore[attr-defined]
    settings.LOCAL_SOURCES = True  # type: ignore[attr-defined]
    made = projects.add_project(
        name="Lists",
        slug="lists",
        source=str(source),
        checks=[Check(name="list", command="test -f list.txt")],
        by=user_of("alice", "acme"),
    )
    projects.fetch(made.pk)
    made.refresh_from_db()
    assert made.state == "ready", made.because
    yield made


@pytest.fixture
def hands(team: Team) -> Hands:
    return Hands(team, PLAN, worker, by=user_of("alice", "acme"))


def test_a_goal_becomes_a_landing_through_a_failed_check_and_a_conflict(
    project: Project, hands: Hands, source: Path
) -> None:
    swarm = goals.state_goal(project, "Write the files", by=user_of("alice", "acme"))
    hands.run(swarm)
    assert swarm.state == "succeeded", swarm.because
    assert swarm.pushed_because == ""
    assert sorted(path.name for path in source.glob("*.txt")) == ["a.txt", "b.txt", "c.txt", "list.txt"]
    assert (source / "list.txt").read_text() == "[a,b]\n"
    reasons = list(Attempt.objects.exclude(reason="").order_by("created_at").values_list("node__key", "reason"))
    assert ("a", "check_failed") in reasons
    assert "merge_conflict" in {reason for _, reason in reasons}, reasons
    assert Approval.objects.filter(state="approved").count() == 3
    assert CheckRun.objects.get(purpose="before").state == "failed"
    assert CheckRun.objects.get(purpose="landing").state == "passed"
    assert Ticket.objects.count() == Placement.objects.count() == 0
    assert not Due.objects.exclude(kind="advance").exists()
    assert not Token.objects.filter(kind="attempt", revoked_at=None).exists()
    for subject in Event.objects.values_list("subject", flat=True).distinct():
        numbers = list(Event.objects.filter(subject=subject).order_by("seq").values_list("seq", flat=True))
        assert numbers == list(range(1, len(numbers) + 1))
