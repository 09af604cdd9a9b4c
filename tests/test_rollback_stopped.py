"""A rollback under way is paused, resumed and cancelled; cancelled, it says how far it came, and goes on later."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client
from django.utils import timezone

from agents.contracts import FailureOutcome, FailureReason
from agents.models import Execution
from swarms import approvals, conditions, goals, landing, operations, reconcile, rollback, sweep
from swarms.models import Approval, Node, Project, Swarm
from swarms.operations import NotNow
from swarms.workspace import repos
from tenants.models import Due, Team, Ticket
from tests.conftest import user_of
from tests.hands import Hands
from tests.invariants import violations
from tests.rollback_stage import (
    FAILS,
    Worker,
    git,
    hands,
    invariants,
    landed,
    listed,
    order,
    project,
    source,
    take_back,
    worker,
)

__all__ = ["hands", "invariants", "landed", "project", "source", "worker"]


def failing(project: Project, hands: Hands, worker: Worker) -> Swarm:
    """A swarm whose last node fails, and so what came before is undone."""
    hands.plan, worker.fails = FAILS, {"d"}
    Project.objects.update(max_attempts=1)
    return goals.state_goal(project, "Write the files", by=hands.by)


def states(swarm: Swarm) -> dict[str, str]:
    return dict(swarm.nodes.exclude(undoes=None).values_list("key", "state"))


def begin(swarm: Swarm, hands: Hands) -> None:
    """A rollback that was asked for and approved has begun, and nothing of it is done."""
    rollback.request(swarm, by=hands.by)
    hands.approve_all()
    for row in Due.objects.filter(kind="advance", subject=swarm.pk):
        reconcile.LOOK["advance"](row.subject)
    swarm.refresh_from_db()
    assert swarm.state == "rolling_back"


def turns_until(swarm: Swarm, hands: Hands, key: str, *wanted: str) -> None:
    """Go on, round by round, until a node is in one of these states."""
    for _ in range(20):
        if Node.objects.filter(swarm=swarm, key=key, state__in=wanted).exists():
            swarm.refresh_from_db()
            return
        hands.turn()
    raise AssertionError(f"{key} never was {wanted}: {states(swarm)}")


def test_a_paused_rollback_ends_what_runs_and_begins_nothing_until_it_is_resumed(
    project: Project, hands: Hands, worker: Worker, team: Team
) -> None:
    swarm = failing(project, hands, worker)
    worker.meanwhile["undo-c"] = lambda: operations.pause(swarm, by=hands.by)
    hands.run(swarm)
    assert (swarm.state, swarm.because) == ("rollback_paused", "paused by Alice")
    assert states(swarm) == {"undo-c": "succeeded", "undo-a": "ready"}
    assert not Ticket.objects.filter(swarm=swarm.pk).exists()
    (why,) = conditions.of_node(Node.objects.select_related("swarm").get(key="undo-a"))
    assert (why.kind, why.text, why.remedy) == ("paused", "its rollback is paused by Alice", "Resume its rollback.")
    assert why.since is not None
    sweep.Sweep().look(team.pk)
    hands.run(swarm)
    assert worker.undone == ["undo-c"]
    operations.resume(swarm, by=hands.by)
    hands.run(swarm)
    assert swarm.state == "rolled_back", swarm.because
    assert worker.undone == ["undo-c", "undo-a"]
    assert violations(team.schema_name, quiet=True) == []


def test_a_cancelled_rollback_stops_who_works_on_it_says_what_is_left_and_goes_on_when_asked_again(
    project: Project, hands: Hands, worker: Worker, team: Team
) -> None:
    swarm = failing(project, hands, worker)

    def stop() -> None:
        operations.cancel(swarm, by=hands.by)
        worker.fails = {"undo-a"}

    worker.meanwhile["undo-a"] = stop
    cancelled = FailureOutcome(reason=FailureReason.CANCELLED, message="asked to stop")
    hands.worker = lambda assignment, work: (
        cancelled if isinstance(said := worker(assignment, work), FailureOutcome) and "undo-a" in worker.fails else said
    )
    hands.run(swarm)
    assert swarm.state == "failed"
    assert swarm.because == "rollback stopped by Alice; done: undo-c; left: undo-a"
    assert states(swarm) == {"undo-c": "succeeded", "undo-a": "cancelled"}
    assert Execution.objects.filter(cancel_at__isnull=False).count() == 1
    assert violations(team.schema_name, quiet=True) == []
    with pytest.raises(NotNow, match="rolled back again"):
        operations.retry_swarm(swarm, by=hands.by)
    worker.fails = set()
    take_back(swarm, hands)
    assert swarm.state == "rolled_back", swarm.because
    assert worker.undone == ["undo-c", "undo-a"]


def test_what_was_undone_although_its_rollback_was_stopped_meanwhile_is_undone(
    project: Project, hands: Hands, worker: Worker
) -> None:
    swarm = failing(project, hands, worker)
    worker.meanwhile["undo-c"] = lambda: operations.cancel(swarm, by=hands.by)
    hands.run(swarm)
    assert swarm.because == "rollback stopped by Alice; done: undo-c; left: undo-a"
    take_back(swarm, hands)
    assert swarm.state == "rolled_back", swarm.because
    assert worker.undone == ["undo-c", "undo-a"]


def test_a_paused_rollback_can_be_cancelled_without_a_word_of_anybody(
    project: Project, hands: Hands, worker: Worker
) -> None:
    swarm = failing(project, hands, worker)
    worker.meanwhile["undo-c"] = lambda: operations.pause(swarm, by=hands.by)
    hands.run(swarm)
    operations.cancel(swarm, by=None)
    hands.run(swarm)
    assert (swarm.state, swarm.because) == ("failed", "rollback stopped by the operator; done: undo-c; left: undo-a")


def test_of_a_landing_the_target_stays_as_it_is_until_all_is_taken_back(
    landed: Swarm, hands: Hands, worker: Worker, source: Path, team: Team
) -> None:
    begin(landed, hands)
    turns_until(landed, hands, "revert-b", "succeeded")
    operations.cancel(landed, by=hands.by)
    hands.run(landed)
    assert landed.state == "failed"
    how_far = "done: undo-a; done on its branch, not on the target branch: revert-b; left: revert-a"
    assert landed.because == f"rollback stopped by Alice; {how_far}"
    assert git(source, "rev-parse", "HEAD") == landed.landed_commit
    assert violations(team.schema_name, quiet=True) == []
    take_back(landed, hands)
    assert landed.state == "rolled_back", landed.because
    assert listed(source) == ["list.txt"]
    assert worker.undone == ["undo-a"]
    assert [key for key in order(landed) if key.startswith("revert-")] == ["revert-b", "revert-a"]
    assert set(Node.objects.filter(key__startswith="revert-").values_list("attempts_made", flat=True)) == {1}


def test_what_was_stopped_on_its_way_through_the_queue_is_taken_back_by_git_again_and_by_no_agent(
    landed: Swarm, hands: Hands, source: Path
) -> None:
    begin(landed, hands)
    turns_until(landed, hands, "revert-b", "merging")
    operations.cancel(landed, by=hands.by)
    hands.run(landed)
    assert landed.because == "rollback stopped by Alice; done: undo-a; left: revert-a, revert-b"
    take_back(landed, hands)
    assert landed.state == "rolled_back", landed.because
    again = Node.objects.get(key="revert-b")
    assert again.kind == "revert"
    assert list(again.attempts.order_by("number").values_list("state", flat=True)) == ["cancelled", "succeeded"]
    assert listed(source) == ["list.txt"]


def test_while_paused_git_takes_nothing_back_and_what_was_approved_does_not_land(
    landed: Swarm, hands: Hands, source: Path
) -> None:
    begin(landed, hands)
    operations.pause(landed, by=hands.by)
    hands.run(landed)
    assert set(states(landed).values()) == {"blocked", "ready"}
    operations.resume(landed, by=hands.by)
    hands.run(landed, approve=False)
    asked = Approval.objects.get(state="pending", kind="landing")
    operations.pause(landed, by=hands.by)
    approvals.approve(asked, by=hands.by)
    hands.run(landed)
    assert landed.state == "rollback_paused"
    landing.land(landed.pk)  # a hint from before
    assert git(source, "rev-parse", "HEAD") == landed.landed_commit
    operations.resume(landed, by=hands.by)
    hands.run(landed)
    assert landed.state == "rolled_back", landed.because
    assert listed(source) == ["list.txt"]


def test_a_rollback_that_is_being_pushed_can_no_longer_be_stopped(
    landed: Swarm, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[str] = []
    push = repos.push

    def pushes(project: Project, commit: str) -> str:
        for verb in (operations.pause, operations.cancel):
            with pytest.raises(NotNow) as error:
                verb(landed, by=hands.by)
            refused.extend(error.value.messages)
        return push(project, commit)

    monkeypatch.setattr(repos, "push", pushes)
    take_back(landed, hands)
    assert landed.state == "rolled_back", landed.because
    assert refused == [
        f"The swarm is going to its target branch at this moment; it is too late to {verb}."
        for verb in ("pause", "cancel")
    ]


def test_a_rollback_is_not_drained_and_no_deadline_ends_it(
    project: Project, hands: Hands, worker: Worker, team: Team
) -> None:
    swarm = failing(project, hands, worker)
    worker.meanwhile["undo-c"] = lambda: operations.pause(swarm, by=hands.by)
    operations.set_deadline(swarm, timezone.now() + timedelta(days=1), by=hands.by)
    hands.run(swarm)
    with pytest.raises(NotNow, match="Pause the rollback, and cancel it when what runs has ended"):
        operations.drain(swarm, by=hands.by)
    with pytest.raises(NotNow, match="A deadline is for the work"):
        operations.set_deadline(swarm, timezone.now() + timedelta(hours=1), by=hands.by)
    Swarm.objects.update(deadline_at=timezone.now() - timedelta(minutes=1))
    assert sweep.Sweep().look(team.pk) == {}
    assert not Due.objects.filter(kind="swarm_deadline").exists()
    operations.expire(swarm.pk)
    swarm.refresh_from_db()
    assert swarm.state == "rollback_paused"


def test_the_page_of_a_rollback_offers_what_can_be_done_to_it(
    project: Project, hands: Hands, worker: Worker, team: Team, client_for: Callable[..., Client]
) -> None:
    swarm = failing(project, hands, worker)
    alice = client_for(user_of("alice", "acme"), team)
    page = "/projects/lists/swarms/1/"
    shown: list[str] = []

    def look() -> None:
        shown.append(alice.get(page).content.decode())
        alice.post(f"{page}pause/")

    worker.meanwhile["undo-c"] = look
    hands.run(swarm)
    assert "Stop the rollback" in shown[0]
    assert "Drain" not in shown[0]
    assert "Cancel the swarm" not in shown[0]
    assert swarm.state == "rollback_paused"
    paused = alice.get(page).content.decode()
    assert "Rollback paused" in paused
    assert f'action="{page}resume/"' in paused
    assert "Deadline" not in alice.get(f"{page}turn/").content.decode()
    alice.post(f"{page}cancel/")
    hands.run(swarm)
    ended = alice.get(page).content.decode()
    assert "left: undo-a" in ended
    assert "Try the rollback again" in ended
