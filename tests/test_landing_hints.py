"""A landing is done because it was decided: hints that strayed, or were left from before, land nothing."""

from datetime import timedelta
from pathlib import Path

import pytest

from swarms import approvals, engine, goals, landing, operations
from swarms.models import Approval, CheckRun, Project, Swarm
from tenants import turns
from tests.hands import Hands
from tests.rollback_stage import SHORT, git, hands, invariants, project, source, worker

__all__ = ["hands", "invariants", "project", "source", "worker"]


@pytest.fixture
def waiting(project: Project, hands: Hands) -> Swarm:
    """A swarm whose result is checked, and whose landing a person is asked about."""
    hands.plan = SHORT
    swarm = goals.state_goal(project, "Write the files", by=hands.by)
    hands.run(swarm, approve=False)
    hands.approve_all()
    hands.run(swarm, approve=False)
    assert (swarm.state, Approval.objects.get(state="pending").kind) == ("landing", "landing")
    return swarm


def test_a_hint_that_strayed_lands_nothing_that_nobody_approved(waiting: Swarm, hands: Hands, source: Path) -> None:
    for _ in range(2):
        landing.land(waiting.pk)
        hands.run(waiting, approve=False)
    assert waiting.state == "landing"
    assert not CheckRun.objects.filter(purpose="landing").exists()
    assert git(source, "rev-parse", "HEAD") == waiting.base_commit
    hands.run(waiting)
    assert waiting.state == "succeeded", waiting.because
    assert git(source, "rev-parse", "HEAD") == waiting.landed_commit


def test_what_was_left_due_by_a_try_before_does_not_land_the_next_one(waiting: Swarm, hands: Hands) -> None:
    approvals.reject(Approval.objects.get(state="pending"), by=hands.by, because="not yet")
    hands.run(waiting)
    assert waiting.state == "failed"
    operations.retry_swarm(waiting, by=hands.by)
    waiting.refresh_from_db()
    for _ in range(20):
        if waiting.check_runs.filter(purpose="integration", created_at__gte=waiting.begun_anew_at, state="passed"):
            break
        hands.turn()
    turns.due("land", waiting.pk, after=timedelta(0))  # its worker died before it was settled
    engine.advance(waiting.pk)
    hands.run(waiting, approve=False)
    assert waiting.state == "landing"
    assert not CheckRun.objects.filter(purpose="landing").exists()


def test_who_was_asked_before_the_policy_asked_nobody_any_more_is_asked_no_longer(
    waiting: Swarm, hands: Hands, source: Path
) -> None:
    Project.objects.update(approve_landing=False)
    engine.advance(waiting.pk)
    hands.run(waiting, approve=False)
    assert waiting.state == "succeeded", waiting.because
    assert Approval.objects.get(kind="landing").state == "void"
