"""What the control plane answers to runners that have work of executions that are over."""

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from agents import executions, rescue, runners, standings
from agents.contracts import Assignment
from agents.contracts.link import PROTOCOL, Forget, Hello, Rescue, Saved, Unsaved
from sessions.models import Event
from swarms import goals
from swarms.models import Attempt, Node, Project, Swarm
from tenants import tokens, turns
from tenants.models import Runner, Team
from tests.conftest import user_of
from tests.test_timeouts import Holding, age, source_project


@pytest.fixture
def hands(team: Team, settings: Any, tmp_path: Path, broker: object) -> Holding:
    source_project(settings, tmp_path)
    hands = Holding(team)
    swarm = goals.state_goal(Project.objects.get(), "Write the file", by=user_of("alice", "acme"))
    hands.run(swarm)
    return hands


def lost(hands: Holding) -> Assignment:
    """The work that a runner held when its lease ran out."""
    held = hands.held[0]
    age(held, lease_until=timedelta(seconds=1))
    assert executions.reap(held.execution)
    return held


def unsaved(held: Assignment, **changes: Any) -> Unsaved:
    return Unsaved.model_validate({"execution": held.execution, "team": "acme", "folder": "/runner/kept/1"} | changes)


def told() -> list[dict[str, Any]]:
    return list(Event.objects.filter(kind=rescue.KIND).order_by("seq").values_list("payload", flat=True))


def test_what_was_lost_may_be_pushed_and_is_told_of(hands: Holding, team: Team) -> None:
    held, runner = lost(hands), hands.runner.pk
    answer = rescue.offered(runner, unsaved(held))
    assert isinstance(answer, Rescue)
    found = rescue.execution_of(answer.token, team)
    assert found is not None
    assert found.pk == held.execution
    assert told() == []

    again = rescue.offered(runner, unsaved(held))
    assert isinstance(again, Rescue)
    assert rescue.execution_of(answer.token, team) is None, "the newest token alone is good"

    rescue.saved(runner, Saved(execution=held.execution, team="acme", commit="a" * 40))
    assert rescue.execution_of(again.token, team) is None
    assert [(one["commit"], one["folder"]) for one in told()] == [("a" * 40, "")]


def test_what_could_not_be_pushed_is_told_once(hands: Holding) -> None:
    held = lost(hands)
    for _ in range(2):
        assert rescue.offered(hands.runner.pk, unsaved(held, because="git push failed: too large")) is None
    assert [(one["commit"], one["folder"], one["because"]) for one in told()] == [
        ("", "/runner/kept/1", "git push failed: too large")
    ]


def test_nobody_gets_a_token_for_what_is_live_done_anothers_or_unknown(
    hands: Holding, globex: Team, subtests: pytest.Subtests
) -> None:
    held = hands.held[0]
    with subtests.test("still at work"):
        assert rescue.offered(hands.runner.pk, unsaved(held)) is None
    lost(hands)
    token, _ = tokens.issue("runner")
    other = Runner.objects.create(name="other", token=token)
    with subtests.test("another runner's"):
        assert rescue.offered(other.pk, unsaved(held)) is None
    with subtests.test("a runner of another team"):
        Runner.objects.filter(pk=hands.runner.pk).update(team=globex)
        assert rescue.offered(hands.runner.pk, unsaved(held)) is None
        Runner.objects.filter(pk=hands.runner.pk).update(team=None)
    with subtests.test("another team's"):
        assert rescue.offered(hands.runner.pk, unsaved(held, team="globex")) is None
    with subtests.test("no team"):
        assert rescue.offered(hands.runner.pk, unsaved(held, team="nowhere")) is None
    with subtests.test("unknown"):
        assert rescue.offered(hands.runner.pk, unsaved(held, execution=uuid4())) is None


def test_what_nobody_needs_any_more_is_forgotten(hands: Holding) -> None:
    held = lost(hands)
    hands.holds = False
    hands.run(Swarm.objects.get(), rounds=400)
    assert Node.objects.get(pk=Attempt.objects.get(execution=held.execution).node_id).state == "succeeded"
    assert rescue.offered(hands.runner.pk, unsaved(held)) == Forget(execution=held.execution)


def test_a_runner_that_leaves_is_given_nothing_until_it_comes_again(hands: Holding) -> None:
    def greets(**words: Any) -> None:
        hello = {"name": "hands", "boot": boot, "version": "1", "protocol": PROTOCOL, "capacity": 4, "sandbox": "none"}
        runners.connect(hands.runner.pk, Hello.model_validate(hello | words), "channel")

    def is_free() -> bool:
        return hands.runner.pk in {runner.pk for runner in turns.free_runners(standings.connected())}

    holding, boot = (hands.held[0].execution,), uuid4()
    greets(holding=holding)
    assert is_free()
    runners.leave(hands.runner.pk)
    assert not is_free()
    greets(holding=holding, leaving=True)
    assert not is_free()
    greets(holding=holding)
    assert is_free()
