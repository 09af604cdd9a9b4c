"""Rolling back: what had effects is undone, what landed is taken back, each once and the last first."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.exceptions import ValidationError
from django.test import Client

from sessions.models import Event
from swarms import approvals, engine, goals, landing, operations, reverts, rollback
from swarms.models import Approval, Attempt, CheckRun, Merge, Node, Project, Swarm
from swarms.workspace import repos
from tenants import turns
from tenants.models import Team
from tests.conftest import user_of
from tests.hands import Hands
from tests.invariants import violations
from tests.rollback_stage import (
    FAILS,
    PLAN,
    Worker,
    git,
    hands,
    invariants,
    land,
    landed,
    listed,
    node,
    order,
    project,
    push,
    source,
    take_back,
    worker,
)

__all__ = ["hands", "invariants", "landed", "project", "source", "worker"]


def test_what_landed_is_taken_back_and_the_target_has_the_tree_of_before(
    project: Project, hands: Hands, worker: Worker, source: Path, team: Team
) -> None:
    landed = land(project, hands, PLAN)
    assert listed(source) == ["a.txt", "b.txt", "c.txt", "list.txt"]
    asked = rollback.request(landed, by=hands.by)
    assert asked is not None
    assert asked.subject["commit"] == landed.landed_commit
    assert [step["kind"] for step in asked.subject["steps"]] == ["undo", "undo", "revert", "revert", "revert"]
    hands.run(landed, approve=False)
    assert landed.state == "succeeded"
    approvals.approve(asked, by=hands.by)
    engine.advance(landed.pk)
    hands.run(landed, approve=False)
    landed.refresh_from_db()
    (exact,) = Approval.objects.filter(state="pending")
    assert (landed.state, exact.title) == ("rolling_back", "Land the rollback of lists #1")
    assert exact.subject["commit"] == landed.integration_commit
    assert exact.subject["base"] == landed.landed_commit
    landing.land(landed.pk)  # a hint that came twice
    assert not CheckRun.objects.filter(purpose="landing", created_at__gte=landed.rollback_at).exists()
    hands.run(landed)
    assert landed.state == "rolled_back", landed.because
    assert worker.undone == ["undo-c", "undo-a"]
    merged = Merge.objects.filter(state="merged", attempt__node__undoes=None).order_by("-ended_at")
    reverted = [key for key in order(landed) if key.startswith("revert-")]
    assert reverted == [f"revert-{merge.attempt.node.key}" for merge in merged]
    assert git(source, "rev-parse", "HEAD^{tree}") == git(source, "rev-parse", f"{landed.base_commit}^{{tree}}")
    assert git(source, "rev-parse", "HEAD") == landed.rolled_back_commit
    assert repos.is_ancestor(landed.project_id, landed.landed_commit, landed.rolled_back_commit)
    # What failed before the swarm began is not held against its rollback.
    assert {c["name"] for run in CheckRun.objects.filter(attempt__node__kind="revert") for c in run.checks} == {"list"}
    assert Event.objects.filter(kind="swarm.rolled_back").count() == 1
    assert violations(team.schema_name, quiet=True) == []
    with pytest.raises(ValidationError, match="is rolled back"):
        rollback.request(landed, by=hands.by)


def test_others_later_work_stays_and_a_policy_that_asks_nobody_asks_nobody(
    landed: Swarm, hands: Hands, source: Path
) -> None:
    Project.objects.update(approve_landing=False)
    push(source, **{"other.txt": "of somebody else\n"})
    assert rollback.request(landed, by=hands.by) is None
    hands.run(landed)
    hands.run(landed)
    assert landed.state == "rolled_back", landed.because
    assert listed(source) == ["list.txt", "other.txt"]
    assert (source / "list.txt").read_text() == "begin\n"
    assert not Approval.objects.filter(kind="rollback").exists()


def test_who_landed_it_and_died_before_all_was_tidied_up_does_not_make_its_rollback_land_at_once(
    landed: Swarm, hands: Hands, source: Path
) -> None:
    Project.objects.update(approve_landing=False)
    turns.due("land", landed.pk, after=timedelta(0))
    take_back(landed, hands)
    assert landed.state == "rolled_back", landed.because
    assert listed(source) == ["list.txt"]
    assert (source / "list.txt").read_text() == "begin\n"


def test_what_git_cannot_take_back_goes_to_an_agent_with_both_sides(landed: Swarm, hands: Hands, source: Path) -> None:
    push(source, **{"list.txt": (source / "list.txt").read_text() + "theirs\n"})
    take_back(landed, hands)
    assert landed.state == "rolled_back", landed.because
    assert listed(source) == ["list.txt"]
    assert (source / "list.txt").read_text().split() == ["begin", "theirs"]
    first = Attempt.objects.filter(node__undoes__isnull=False, reason="merge_conflict").earliest("created_at")
    assert (first.execution, first.number) == (None, 1)
    again = Attempt.objects.get(node=first.node, number=2)
    assert again.execution is not None
    told = again.execution.assignment["briefing"]
    assert "+theirs" in told
    assert "keep their work" in told


def test_what_breaks_the_checks_when_it_is_taken_back_goes_to_an_agent(
    landed: Swarm, hands: Hands, worker: Worker, source: Path
) -> None:
    check = {"name": "need", "command": "! test -f needs-a.txt || test -f a.txt", "timeout": 60}
    Project.objects.update(checks=[*landed.project.checks, check])
    push(source, **{"needs-a.txt": "a.txt must stay\n"})
    worker.keeps = True
    take_back(landed, hands)
    assert landed.state == "rolled_back", landed.because
    assert listed(source) == ["a.txt", "list.txt", "needs-a.txt"]
    assert list(Node.objects.get(key="revert-a").attempts.order_by("number").values_list("reason", flat=True)) == [
        "check_failed",
        "",
    ]


def test_a_target_that_lost_the_landing_is_told_of(landed: Swarm, hands: Hands, source: Path) -> None:
    git(source, "reset", "-q", "--hard", landed.base_commit)
    take_back(landed, hands)
    assert landed.state == "failed"
    assert "does not contain" in landed.because


def test_a_rejected_rollback_changes_nothing_and_can_be_asked_for_again(landed: Swarm, hands: Hands) -> None:
    asked = rollback.request(landed, by=hands.by)
    assert asked is not None
    with pytest.raises(ValidationError, match="waits for approval"):
        rollback.request(landed, by=hands.by)
    approvals.reject(asked, by=hands.by, because="we keep it")
    reverts.process(landed.pk)  # a hint of nothing
    hands.run(landed)
    assert landed.state == "succeeded"
    assert rollback.request(landed, by=hands.by) is not None


def test_pages_offer_a_rollback_and_show_what_it_undoes(
    landed: Swarm, hands: Hands, team: Team, client_for: Callable[..., Client]
) -> None:
    page = "/projects/lists/swarms/1/"
    alice, vera = (client_for(user_of(name, "acme"), team) for name in ("alice", "vera"))
    assert "Roll the swarm back" in alice.get(page).content.decode()
    assert "Roll the swarm back" not in vera.get(page).content.decode()
    assert vera.post(f"{page}rollback/").status_code == 403
    answer = alice.post(f"{page}rollback/")
    asked = Approval.objects.get(kind="rollback", state="pending")
    assert (answer.status_code, answer["Location"]) == (302, f"/approvals/{asked.pk}/")
    for address in (f"/approvals/{asked.pk}/", f"/admin/swarms/approval/{asked.pk}/change/"):
        shown = alice.get(address).content.decode()
        assert landed.landed_commit in shown
        assert "delete the bucket" in shown
        assert shown.index("Write b") < shown.index("is reverted") < shown.rindex("is reverted")
    assert "What it did is undone when it is approved." in alice.get(page).content.decode()
    assert "waits for approval" in alice.post(f"{page}rollback/", follow=True).content.decode()
    hands.approve_all()
    hands.run(landed)
    hands.run(landed)
    shown = alice.get(page).content.decode()
    assert "Rolled back" in shown
    assert "undo-a" in shown
    assert "taken back as" in shown
    assert alice.get(f"{page}nodes/revert-b/").status_code == 200
    assert alice.get(f"{page}nodes/undo-a/").status_code == 200


def test_a_failure_whose_policy_is_rollback_undoes_what_had_effects(
    project: Project, hands: Hands, worker: Worker, source: Path, team: Team
) -> None:
    hands.plan, worker.fails = FAILS, {"d"}
    swarm = goals.state_goal(project, "Write the files", by=hands.by)
    Project.objects.update(max_attempts=1)
    hands.run(swarm)
    assert swarm.state == "rolled_back", swarm.because
    assert worker.undone == ["undo-c", "undo-a"]
    assert order(swarm) == worker.undone
    assert listed(source) == ["list.txt"]
    assert not swarm.landed_commit
    assert violations(team.schema_name, quiet=True) == []


def test_without_effects_a_failed_swarm_stays_failed(project: Project, hands: Hands, worker: Worker) -> None:
    worker.fails = {"a"}
    hands.plan = PLAN.model_copy(update={"nodes": (node("a", on_failure="rollback"),), "acceptance": ()})
    Project.objects.update(max_attempts=1)
    swarm = goals.state_goal(project, "Write the files", by=hands.by)
    hands.run(swarm)
    assert swarm.state == "failed"
    with pytest.raises(ValidationError, match="nothing to undo"):
        rollback.request(swarm, by=hands.by)
    assert not rollback.possible(swarm)


def test_what_could_not_be_undone_is_named_and_tried_again_alone(
    project: Project, hands: Hands, worker: Worker, team: Team
) -> None:
    hands.plan, worker.fails = FAILS, {"d", "undo-a"}
    Project.objects.update(max_attempts=1)
    swarm = goals.state_goal(project, "Write the files", by=hands.by)
    hands.run(swarm)
    assert swarm.state == "failed"
    assert "undo-a failed" in swarm.because
    assert worker.undone == ["undo-c"]
    with pytest.raises(ValidationError, match="taken back"):
        operations.retry_swarm(swarm, by=hands.by)
    worker.fails = set()
    take_back(swarm, hands)
    assert swarm.state == "rolled_back", swarm.because
    assert worker.undone == ["undo-c", "undo-a"]
    assert violations(team.schema_name, quiet=True) == []


def test_a_swarm_that_is_tried_again_is_not_rolled_back_by_an_old_answer(
    project: Project, hands: Hands, worker: Worker
) -> None:
    nodes = (*FAILS.nodes[:-1], node("d", "c"))
    hands.plan, worker.fails = FAILS.model_copy(update={"nodes": nodes}), {"d"}
    Project.objects.update(max_attempts=1)
    swarm = goals.state_goal(project, "Write the files", by=hands.by)
    hands.run(swarm)
    asked = rollback.request(swarm, by=hands.by)
    assert asked is not None
    worker.fails = set()
    operations.retry_swarm(swarm, by=hands.by)
    asked.refresh_from_db()
    assert asked.state == "void"
    hands.run(swarm)
    assert swarm.state == "succeeded", swarm.because
    assert worker.undone == []


def test_a_swarm_that_runs_cannot_be_rolled_back(project: Project, hands: Hands) -> None:
    swarm = goals.state_goal(project, "Write the files", by=hands.by)
    with pytest.raises(ValidationError, match="planning"):
        rollback.request(swarm, by=hands.by)
