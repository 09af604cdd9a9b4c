"""Agents and people know who is at work beside them, and what they write."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from agents import steering
from agents.contracts import Doing, MessageRecord, PartRecord
from agents.executions import end
from agents.models import Execution
from agents.states import ExecutionState
from sessions import transcript
from sessions.models import Session
from swarms import awareness, briefing, regions
from swarms.models import Attempt, Node
from swarms.showing import SwarmPages
from tenants.models import Team
from tests.board_stage import Stage
from tests.conftest import user_of
from tests.stage_parts import execution as make_execution


@pytest.fixture
def stage(team: Team) -> Stage:
    return Stage(user_of("alice", "acme"))


def writes(session: Session, *paths: str, tool: str = "write_file", name: str = "path", **fields: Any) -> None:
    message = MessageRecord(id=uuid4(), role="assistant")
    parts = [
        PartRecord(id=uuid4(), message=message.id, index=index, kind="tool", tool=tool, input={name: path}, **fields)
        for index, path in enumerate(paths)
    ]
    transcript.record(session, [message, *parts])


def test_an_agent_is_seen_with_its_node_and_what_it_does_and_writes(stage: Stage) -> None:
    session = stage.live.session
    writes(session, "printer/a.py", "printer/b.py")
    writes(session, "printer/a.py", tool="edit", name="filePath")
    writes(session, "printer/c.py", state="failed")
    writes(session, "read.py", tool="read_file")
    transcript.record(session, [Doing(text="editing b.py")])
    (seen,) = awareness.at_work(stage.swarm.pk)
    assert (seen.node, seen.title, seen.doing) == ("printer", "Write the printer", "editing b.py")
    assert seen.declared == ("printer/**",)
    assert set(seen.written) == {"printer/a.py", "printer/b.py"}
    assert awareness.at_work(stage.swarm.pk, but=stage.live.pk) == []
    assert awareness.at_work(stage.proposed.pk) == []


def test_the_coordinator_is_at_work_and_checks_are_not(stage: Stage) -> None:
    make_execution(stage.swarm, stage.runner, f"plan:{uuid4()}", "coordinator-1", kind="plan", state="running")
    make_execution(stage.swarm, stage.runner, f"checks:{uuid4()}", "checks-1", kind="check", state="running")
    seen = awareness.at_work(stage.swarm.pk)
    assert [(one.execution.agent, one.node) for one in seen] == [("developer-2", "printer"), ("coordinator-1", "")]


def test_what_is_told_has_an_end(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    writes(stage.live.session, *(f"printer/{number}.py" for number in range(20)))
    (seen,) = awareness.at_work(stage.swarm.pk)
    assert (len(seen.written), seen.more) == (awareness.MOST_PATHS, 12)
    (line,) = awareness.beside(stage.swarm.pk)
    assert "and 12 paths more" in line
    monkeypatch.setattr(awareness, "MOST_AGENTS", 0)
    assert awareness.beside(stage.swarm.pk) == ["and 1 nodes more"]


def test_many_agents_cost_no_more_queries(stage: Stage, content_queries: Callable[[], Any]) -> None:
    def cost() -> int:
        with content_queries() as queries:
            assert awareness.beside(stage.swarm.pk)
        return len(queries)

    alone = cost()
    for number in range(5):
        subject = f"node:{uuid4()}"
        live = make_execution(stage.swarm, stage.runner, subject, f"developer-{number + 10}", state="running")
        printer = stage.nodes["printer"]
        node = Node.objects.create(
            swarm=stage.swarm, plan=printer.plan, key=f"n{number}", title="N", role="developer", instructions="x"
        )
        Node.objects.filter(pk=node.pk).update(state="ready")
        Node.objects.filter(pk=node.pk).update(state="running")
        Attempt.objects.create(node=node, number=1, base_commit=stage.base, state="running", execution=live)
    assert len(awareness.beside(stage.swarm.pk)) == 6
    assert cost() == alone


def test_a_briefing_tells_who_is_at_work_beside(stage: Stage) -> None:
    writes(stage.live.session, "printer/a.py")
    text = briefing.for_node(stage.nodes["docs"], number=1, last=None)
    assert (
        "## At work beside you\n- `printer` Write the printer, writes `printer/**`; developer-2 now: reads parser.py;"
        " has written `printer/a.py`" in text
    )
    assert "At work beside you" not in briefing.for_node(stage.nodes["printer"], number=1, last=None)


def test_the_next_attempt_is_told_what_people_said_to_the_last(stage: Stage) -> None:
    live: Execution = stage.live
    steering.say(live.session, "Mind\nthe tests.", by=user_of("bob", "acme"))
    steering.interrupt(live.session, by=user_of("bob", "acme"))
    end(live.pk, ExecutionState.LOST, reason="lost", because="x")
    last = Attempt.objects.get(execution=live)
    text = briefing.for_node(stage.nodes["printer"], number=2, last=last)
    assert text.endswith("## What people said to the agent of the attempt before\n- Bob: Mind the tests.")


def test_people_see_it_on_the_swarms_page_as_it_changes(stage: Stage) -> None:
    pages, topic = SwarmPages(), stage.swarm.topic
    known: dict[str, Any] = {}
    pages.rest(topic, {"agent.doing"}, known)
    writes(stage.live.session, "printer/<new>.py")
    (swap,) = pages.rest(topic, {"agent.doing"}, known)
    assert swap.place == f"{topic}/now"
    assert "printer/&lt;new&gt;.py" in swap.html
    assert len(regions.now(stage.swarm)["agents"]) == 1
