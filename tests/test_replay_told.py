"""After every verb the fold of all events is the scene that the tables show: nothing happens that no event tells."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from django.utils import timezone

from agents import metering
from agents.contracts import Usage
from agents.models import Execution
from swarms import engine, goals, operations, plan_yaml, replan, rollback
from swarms.models import Project, Swarm
from swarms.replay import stories, tables
from swarms.replay.checkpoints import Checkpoints, scene_at
from swarms.replay.fold import fold
from swarms.replay.scene import differences
from tenants.models import Team
from tests.hands import Hands
from tests.rollback_stage import PLAN, Worker, hands, invariants, node, project, push, source, worker

__all__ = ["hands", "invariants", "project", "source", "worker"]


def same(swarm: Swarm) -> None:
    """What events tell is what the tables show."""
    fresh = Swarm.objects.select_related("project", "goal").get(pk=swarm.pk)
    story = stories.of_swarm(fresh)
    seen, told = tables.seen(fresh), fold(story.told(0, story.last()))
    assert differences(told, seen) == []
    assert (told.seq, told.spent, told.deadline) == (seen.seq, seen.spent, seen.deadline)
    assert scene_at(story, told.seq, Checkpoints()) == told


def follow(hands: Hands, swarm: Swarm, rounds: int = 60) -> None:
    """Go on to the swarm's end, and compare after every step."""
    for _ in range(rounds):
        busy = hands.turn()
        same(swarm)
        busy = bool(hands.approve_all()) or busy
        same(swarm)
        swarm.refresh_from_db()
        if swarm.is_ended or not busy:
            return


def test_a_rich_life_is_told_whole(project: Project, hands: Hands, worker: Worker, team: Team, source: Path) -> None:
    swarm = goals.state_goal(project, "Write the files", by=hands.by)
    same(swarm)

    def do(verb: Callable[[], object]) -> None:
        verb()
        same(swarm)

    def meanwhile() -> None:
        """All that people may do while an agent works on `a`."""
        node_b = swarm.nodes.get(key="b")
        live = Execution.objects.get(swarm=swarm.pk, kind="work", ended_at=None)
        words = (team.schema_name, live.pk, live.session_id, swarm.pk, live.agent, "")
        meter = metering.Meter(usage=Usage(input_tokens=10, output_tokens=5))
        do(lambda: metering.keep(metering.Caller(*words), meter, status=200, seconds=0.1))
        do(lambda: operations.set_priority(swarm, 5, by=hands.by))
        do(lambda: operations.set_priority(node_b, 7, by=hands.by))
        do(lambda: operations.set_deadline(swarm, timezone.now() + timedelta(days=1), by=hands.by))
        do(lambda: operations.set_deadline(swarm, None, by=hands.by))
        do(lambda: operations.pause(swarm, by=hands.by))
        do(lambda: operations.resume(swarm, by=hands.by))
        wanted = PLAN.model_copy(update={"nodes": (*PLAN.nodes, node("d", "a"), node("e", "d", risk="high"))})
        text = plan_yaml.write_yaml(wanted.model_dump(mode="json"))
        do(lambda: replan.change(swarm, text, by=hands.by))
        hands.approve_all()
        do(lambda: engine.advance(swarm.pk))
        dropped = wanted.model_copy(update={"nodes": wanted.nodes[:-1]})
        do(lambda: replan.change(swarm, plan_yaml.write_yaml(dropped.model_dump(mode="json")), by=hands.by))
        hands.approve_all()
        do(lambda: engine.advance(swarm.pk))
        do(lambda: operations.skip(swarm.nodes.get(key="d"), by=hands.by))
        do(lambda: operations.retry_node(swarm.nodes.get(key="d"), by=hands.by))

    worker.meanwhile["a"] = meanwhile
    follow(hands, swarm)
    assert swarm.state == "succeeded", swarm.because
    assert swarm.nodes.get(key="e").dropped_by is not None
    # Others change the same lines: taking it back becomes an agent's work.
    push(source, **{"list.txt": "begin\nours\n"})
    do(lambda: rollback.request(swarm, by=hands.by))
    for _ in range(3):
        follow(hands, swarm)
    assert swarm.state == "rolled_back", swarm.because
    assert swarm.nodes.filter(undoes__isnull=False, kind="agent").exists()


def test_a_life_that_fails_is_tried_again_and_cancelled_is_told_whole(
    project: Project, hands: Hands, worker: Worker
) -> None:
    hands.plan = PLAN.model_copy(update={"nodes": PLAN.nodes[:3]})
    project.max_attempts = 1
    project.save()
    worker.fails.add("c")
    swarm = goals.state_goal(project, "Write the files", by=hands.by)
    follow(hands, swarm)
    assert swarm.state == "failed", swarm.because
    worker.fails.clear()
    operations.retry_swarm(swarm, by=hands.by)
    same(swarm)
    worker.meanwhile["c"] = lambda: (operations.cancel(swarm, by=hands.by), same(swarm))
    follow(hands, swarm)
    assert swarm.state == "cancelled", swarm.because
