"""The fold of events: whatever valid events come, it is the same in one go, in pieces, and from any scene on."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticUndefined

from sessions.kinds import KINDS as EVENT_KINDS
from sessions.kinds import checked
from swarms.replay.fold import KINDS, fold, step
from swarms.replay.says import say
from swarms.replay.scene import EMPTY, MOST_ATTEMPTS, Scene, Told, differences
from swarms.states import MACHINES

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
IDS = st.sampled_from(["n1", "n2", "n3", "x1", "s1"])
KEYS = st.sampled_from(["a", "b", "c"])
STATES = st.sampled_from(sorted({state for moves in MACHINES.values() for state in moves}))


@st.composite
def payloads(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    """A valid payload: fields that name things name few of them, so that events meet."""
    return {name: draw(_field(kind, name, field)) for name, field in EVENT_KINDS[kind].model_fields.items()}


def _field(kind: str, name: str, field: Any) -> st.SearchStrategy[Any]:
    known: dict[str, st.SearchStrategy[Any]] = {
        "before": STATES,
        "after": STATES,
        "id": IDS,
        "key": KEYS,
        "node": st.sampled_from(["", "a", "b", "c"]),
        "name": st.sampled_from(["a", "b 1", "c 2", "plan 1"]),
        "at": st.none() | st.just("2026-01-02T00:00:00+00:00"),
        "limit_microusd": st.none() | st.integers(0, 10),
        "cost_microusd": st.none() | st.integers(0, 10),
    }
    if name in known:
        return known[name]
    if name == "answers":
        return st.dictionaries(KEYS, st.integers(0, 5) | st.sampled_from(["yes", "no"]), max_size=2)
    if kind == "nodes.moved":
        return st.lists(st.fixed_dictionaries({n: _field("", n, None) for n in _MOVE}), max_size=4)
    if kind == "nodes.planned":
        return st.lists(_planned(), max_size=3) if name == "nodes" else st.lists(IDS, max_size=2)
    annotation = str(getattr(field, "annotation", str)) if field is not None else "str"
    if "int" in annotation:
        return st.integers(0, 5)
    if "bool" in annotation:
        return st.booleans()
    if "list" in annotation:
        return st.lists(KEYS, max_size=2)
    if name in ("execution", "session", "approval", "plan"):
        return IDS
    if field is not None and field.default is not PydanticUndefined and field.default is None:
        return st.none()
    return st.sampled_from(["", "a", "words"]) if name != "noun" else st.sampled_from(["node", "attempt"])


_MOVE = ("noun", "id", "name", "before", "after", "because")


def _planned() -> st.SearchStrategy[dict[str, Any]]:
    bounds = {name: st.none() | st.floats(0, 5) for name in ("at_least", "at_most")}
    when = st.fixed_dictionaries(
        {"parent": KEYS, "field": KEYS, "values": st.lists(KEYS), "negate": st.booleans()}, optional=bounds
    )
    words = {name: st.sampled_from(["", "a"]) for name in ("title", "kind", "role", "risk", "under", "undoes")}
    return st.fixed_dictionaries(
        words
        | {"id": IDS, "key": KEYS, "parents": st.lists(KEYS, max_size=2), "when": st.lists(when, max_size=1)}
        | {name: st.integers(0, 3) for name in ("version", "priority", "max_attempts")}
    )


FOLDED = sorted(KINDS)


@st.composite
def stories(draw: st.DrawFn) -> list[Told]:
    """Valid events of kinds that the fold looks at, in no sensible order."""
    kinds = draw(st.lists(st.sampled_from(FOLDED), max_size=25))
    told = [(kind, checked(kind, draw(payloads(kind)))) for kind in kinds]
    return [Told(n, kind, facts, BEGAN + timedelta(seconds=n)) for n, (kind, facts) in enumerate(told, start=1)]


@given(stories(), st.integers(0, 25))
def test_a_story_may_be_cut_anywhere(told: list[Told], cut: int) -> None:
    whole = fold(told)
    first = fold(told[:cut])
    kept = repr(first)
    assert fold(told[cut:], first) == whole
    assert repr(first) == kept, "the scene that it began from was changed"
    one_by_one = EMPTY
    for event in told:
        one_by_one = step(one_by_one, event)
    assert one_by_one == whole
    assert whole.seq == len(told)
    assert {node.key for node in whole.present} <= {"a", "b", "c"}
    assert differences(whole, whole) == []


@given(st.sampled_from(sorted(EVENT_KINDS)).flatmap(lambda kind: payloads(kind).map(lambda facts: (kind, facts))))
def test_every_event_is_said_in_a_line(given_: tuple[str, dict[str, Any]]) -> None:
    kind, facts = given_
    assert say(kind, checked(kind, facts)).text


def _told(*events: tuple[str, dict[str, Any]]) -> list[Told]:
    return [Told(n, kind, checked(kind, facts), BEGAN) for n, (kind, facts) in enumerate(events, start=1)]


def planned(key: str, *parents: str, **more: Any) -> dict[str, Any]:
    words = {"id": f"id-{key}", "key": key, "title": key.title(), "kind": "agent", "role": "developer", "risk": "low"}
    return words | {"parents": list(parents), "version": 1, "priority": 0, "max_attempts": 3} | more


def moved(noun: str, pk: str, name: str, before: str, after: str, **more: str) -> tuple[str, dict[str, Any]]:
    return f"{noun}.moved", {"id": pk, "name": name, "before": before, "after": after, **more}


def test_a_scene_tells_nodes_attempts_agents_questions_money_and_the_branch() -> None:
    goal = {"goal": "g", "number": 12, "text": "Do it", "base": "c0"}
    placed = {"execution": "x1", "kind": "work", "subject": "node:id-a", "agent": "dev-1", "runner": "r"}
    started = {"node": "a", "attempt": 1, "agent": "dev-1", "runner": "r", "session": "s1"}
    call = {"session": "s1", "model": "m", "rehearsal": False, "status": 200, "input_tokens": 5, "output_tokens": 7}
    scene = fold(
        _told(
            ("goal.stated", goal),
            ("plan.proposed", {"plan": "p", "version": 1, "source": "yaml", "nodes": ["a"], "warnings": []}),
            ("approval.asked", {"approval": "q", "kind": "plan", "title": "Plan 1"}),
            moved("approval", "q", "Plan 1", "pending", "approved"),
            moved("plan", "p", "plan 1", "proposed", "approved"),
            ("nodes.planned", {"nodes": [planned("a"), planned("b", "a")]}),
            moved("swarm", "w", "x #12", "proposed", "running", because="go"),
            moved("node", "id-a", "a", "ready", "running", because="attempt 1 on r"),
            ("execution.placed", placed | {"session": "s1", "title": "Write a"}),
            ("attempt.started", started),
            ("agent.doing", {"agent": "dev-1", "session": "s1", "text": "reads"}),
            ("model.called", call | {"cost_microusd": 9}),
            ("model.called", call | {"cost_microusd": None}),
            ("approval.asked", {"approval": "q2", "kind": "node", "title": "Start b", "node": "b"}),
        )
    )
    assert (scene.number, scene.state, scene.because, scene.version, scene.branch) == (12, "running", "go", 1, "c0")
    a, b = scene.present
    assert (a.state, a.attempts, scene.agent_of(a), b.state, b.parents) == ("running", 1, "dev-1", "blocked", ("a",))
    assert [(work.agent, work.doing) for work in scene.works.values()] == [("dev-1", "reads")]
    assert [(ask.kind, ask.node) for ask in scene.asks.values()] == [("node", "b")]
    assert scene.spent == (24, 9, 1, 1, 0)
    scene = fold(
        _told(
            moved("attempt", "t", "a 1", "running", "failed", reason="check_failed", because="red"),
            moved("execution", "x1", "work", "running", "done"),
            moved("node", "id-a", "a", "running", "ready"),
            moved("node", "id-a", "a", "ready", "running"),
            ("node.merged", {"node": "a", "commit": "c1"}),
            moved("node", "id-a", "a", "merging", "succeeded", because="merged"),
            ("nodes.planned", {"nodes": [], "dropped": ["id-b"]}),
            ("priority.set", {"priority": 5, "node": "a"}),
            ("priority.set", {"priority": 3}),
            ("deadline.set", {"at": "2030-01-01T00:00:00+00:00"}),
            ("branch.set", {"commit": "c2", "why": "moved"}),
            ("swarm.landed", {"branch": "main", "commit": "c3", "pushed": "pushed"}),
        ),
        scene,
    )
    (a,) = scene.present
    assert (a.key, a.attempts, a.priority, scene.agent_of(a)) == ("a", 2, 5, "")
    assert (a.state, a.because, a.began, a.ended) == ("succeeded", "merged", BEGAN, BEGAN)
    assert scene.attempts["a"][0][:5] == ("a", 1, "failed", "check_failed", "red")
    assert (scene.works, scene.done, scene.merges, scene.branch) == ({}, 1, {"a": "c1"}, "c2")
    assert (scene.priority, scene.deadline, scene.landed, scene.landed_on) == (
        3,
        "2030-01-01T00:00:00+00:00",
        "c3",
        "main",
    )


def test_what_differs_is_named_and_clocks_are_not_compared() -> None:
    told = fold(_told(("nodes.planned", {"nodes": [planned("a")]}), moved("node", "id-a", "a", "ready", "running")))
    seen = fold(_told(("nodes.planned", {"nodes": [planned("a")]})))
    assert [fault.split(":")[0] for fault in differences(told, seen)] == ["nodes id-a", "attempts a"]
    later = [
        event._replace(at=BEGAN + timedelta(days=1)) for event in _told(("nodes.planned", {"nodes": [planned("a")]}))
    ]
    assert differences(fold(later), seen) == []
    assert isinstance(seen, Scene)


def test_of_a_node_that_is_tried_without_end_the_newest_attempts_are_kept() -> None:
    again = [moved("node", "id-a", "a", "ready", "running"), moved("node", "id-a", "a", "running", "ready")]
    scene = fold(_told(("nodes.planned", {"nodes": [planned("a")]}), *again * (MOST_ATTEMPTS + 5)))
    assert [one.number for one in scene.attempts["a"]] == list(range(6, MOST_ATTEMPTS + 6))
    assert scene.present[0].attempts == MOST_ATTEMPTS + 5
    scene = fold(
        _told(moved("attempt", "t", "a 7", "leased", "lost"), moved("attempt", "t", "a 1", "leased", "lost")), scene
    )
    assert [one.number for one in scene.attempts["a"] if one.state == "lost"] == [7]


def test_every_kind_that_is_folded_is_a_kind_of_event() -> None:
    assert set(EVENT_KINDS) >= KINDS


@pytest.mark.parametrize("kind", sorted(set(EVENT_KINDS) - KINDS))
def test_other_kinds_only_count(kind: str) -> None:
    scene = step(EMPTY, Told(1, kind, {}, BEGAN))
    assert differences(scene, EMPTY) == []
    assert (scene.seq, scene.at) == (1, BEGAN)
