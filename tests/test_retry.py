"""Trying again: counts and edges stay true over any plan and any history; and who comes at the same time as a retry."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents import executions
from agents.contracts import Assignment, FailureOutcome, FailureReason, PlanNode, PlanProposal
from agents.models import Execution
from swarms import dispatch, goals, operations, progress, retry
from swarms.models import Edge, Goal, Node, Project, Swarm
from swarms.release import SWARM_STOPS, FanIn, satisfied
from swarms.states import NODE_ENDED, NODE_WAITING
from tenants.context import current_schema, in_schema
from tenants.models import Team, Ticket
from tests.conftest import user_of
from tests.hands import Hands
from tests.invariants import violations
from tests.milestones import adopted
from tests.test_races import acme_committed, project_of  # noqa: F401
from tests.turn_stage import make_runner

Moment = tuple[int, str]


def swarm_with(size: int, edges: list[tuple[int, int]], rules: list[tuple[str, str]]) -> Swarm:
    """A running swarm whose nodes are there, and nothing has begun."""
    by = user_of("alice", "acme")
    number = Project.objects.count() + 1
    project = Project.objects.create(
        slug=f"p{number}", name="P", source="/p", state="ready", created_by=by, max_attempts=1
    )
    goal = Goal.objects.create(project=project, number=1, text="Go", created_by=by)
    began = {"base_commit": "0" * 40, "started_at": timezone.now()}
    swarm = Swarm.objects.create(project=project, goal=goal, number=1, **began)
    for state in ("proposed", "running"):
        Swarm.objects.filter(pk=swarm.pk).update(**{"state": state})
    plan = swarm.plans.create(version=1, source="yaml")
    pairs = sorted({(low, high) for low, high in edges if low < high < size})
    entering = Counter(high for _, high in pairs)
    nodes = Node.objects.bulk_create(
        Node(
            swarm=swarm,
            plan=plan,
            key=f"n{place}",
            title=str(place),
            role="developer",
            parents=entering[place],
            deps_left=entering[place],
            fan_in=rules[place][0],
            on_failure=rules[place][1],
        )
        for place in range(size)
    )
    Edge.objects.bulk_create(Edge(parent=nodes[low], child=nodes[high]) for low, high in pairs)
    progress.release(swarm.pk, consider=[node.pk for node in nodes if not node.parents])
    swarm.refresh_from_db()
    return swarm


def happen(swarm: Swarm, place: int, what: str) -> None:
    """Something happens to one of the nodes to which it can."""
    states = {"skip": NODE_WAITING, "retry": ["failed", "skipped"]}.get(what, ["ready"])
    able = list(swarm.nodes.filter(state__in=states).order_by("key"))
    if not able:
        return
    node = able[place % len(able)]
    node.swarm = swarm
    by = user_of("alice", "acme")
    if what in ("succeeded", "failed"):
        for step in ("running", what):
            made = {"attempts_made": node.attempts_made + 1} if step == "running" else {}
            Node.objects.filter(pk=node.pk).update(**{"state": step} | made)
        Ticket.objects.filter(subject=node.pk).delete()
        progress.release(swarm.pk, ended=[node.pk])
        return
    try:
        with transaction.atomic():
            operations.skip(node, by=by) if what == "skip" else operations.retry_node(node, by=by)
    except operations.NotNow:
        return


def faults(swarm: Swarm) -> list[str]:
    """What is not true of edges, counts and tickets."""
    found = []
    for edge in Edge.objects.filter(child__swarm=swarm).select_related("parent", "child"):
        parent = edge.parent
        is_open = parent.state not in NODE_ENDED or (parent.state == "failed" and parent.on_failure in SWARM_STOPS)
        wanted = None if is_open else satisfied(parent.state, parent.on_failure, None, {})
        if edge.resolved is not wanted:
            found.append(f"{parent.key} ({parent.state}) -> {edge.child.key}: {edge.resolved} instead of {wanted}")
    for node in swarm.nodes.exclude(state__in=NODE_ENDED):
        edges = list(node.edges_in.values_list("resolved", flat=True))
        counts = (len(edges), edges.count(None), edges.count(True))
        if counts != (node.parents, node.deps_left, node.deps_ok):
            found.append(f"{node.key} counts {node.parents, node.deps_left, node.deps_ok}, there are {counts}")
        if (node.state == "ready") != Ticket.objects.filter(subject=node.pk).exists():
            found.append(f"{node.key} is {node.state}, and its ticket says otherwise")
        if node.state == "blocked" and counts[1] == 0:
            found.append(f"{node.key} waits for nothing")
    return found


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]], list[tuple[str, str]], list[Moment]]:
    size = draw(st.integers(3, 7))
    place = st.integers(0, size - 1)
    rule = st.tuples(st.sampled_from(sorted(FanIn)), st.sampled_from(["fail_swarm", "skip_descendants", "continue"]))
    what = st.sampled_from(["succeeded", "failed", "failed", "skip", "retry", "retry"])
    return (
        size,
        [(low, high) for high in range(1, size) for low in draw(st.sets(st.integers(0, high - 1), max_size=2))],
        draw(st.lists(rule, min_size=size, max_size=size)),
        draw(st.lists(st.tuples(place, what), min_size=4, max_size=14)),
    )


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories())
def test_edges_and_counts_are_true_after_any_history(team: Team, broker: object, history: Any) -> None:
    size, edges, rules, moments = history
    with transaction.atomic():
        swarm = swarm_with(size, edges, rules)
        for place, what in moments:
            happen(swarm, place, what)
            assert faults(swarm) == [], f"after {what} {place}"
        _fail_and_retry(swarm)
        transaction.set_rollback(True)


def _fail_and_retry(swarm: Swarm) -> None:
    """The swarm fails with what waits cancelled, and is tried again: what has succeeded stays, what failed waits."""
    if not swarm.nodes.filter(state__in=["failed", "blocked", "ready"]).exists():
        return
    progress.end_waiting(swarm, "cancelled", because="the swarm is failing")
    for state in ("failing", "failed"):
        Swarm.objects.filter(pk=swarm.pk).update(**{"state": state})
    before = dict(swarm.nodes.values_list("key", "state"))
    operations.retry_swarm(swarm, by=None)
    after = dict(swarm.nodes.values_list("key", "state"))
    assert faults(swarm) == [], "after the retry of the swarm"
    for key, state in before.items():
        if state == "succeeded":
            assert after[key] == "succeeded"
        assert after[key] != "cancelled"
    for node in swarm.nodes.filter(state="failed"):
        assert node.on_failure not in SWARM_STOPS
        assert retry.builds_on(node), f"{node.key} could have been tried again"


@pytest.fixture
def failed(acme_committed: Team, tmp_path: Path) -> tuple[Swarm, Hands]:  # noqa: F811
    from tests.test_operations import plan, work

    def write(assignment: Assignment, folder: Path) -> str | FailureOutcome:
        if assignment.attempt == 1 and assignment.writes[0] == "f.txt":
            return FailureOutcome(reason=FailureReason.AGENT_ERROR, message="too hard")
        (folder / assignment.writes[0]).write_text("good\n")
        return "wrote it"

    hands = Hands(acme_committed, plan(work("a"), work("f"), work("c", "f")), write, by=user_of("alice", "acme"))
    project = project_of("acme", tmp_path / "source")
    Project.objects.update(max_attempts=1)
    swarm = goals.state_goal(project, "Write", by=hands.by)
    hands.run(swarm)
    assert swarm.state == "failed"
    return swarm, hands


def at_once(*verbs: Callable[[], object]) -> list[str]:
    """What each says when all begin at the same moment; empty: it did it."""
    schema = current_schema()

    def call(verb: Callable[[], object]) -> str:
        try:
            with in_schema(schema):
                verb()
        except ValidationError as error:
            return error.messages[0]
        finally:
            connection.close()
        return ""

    with ThreadPoolExecutor(len(verbs)) as threads:
        return list(threads.map(call, verbs))


def test_of_retries_that_come_at_once_one_counts_and_a_cancel_among_them_wins_or_is_refused(
    failed: tuple[Swarm, Hands],
) -> None:
    swarm, hands = failed
    again: Callable[[], object] = lambda: operations.retry_swarm(swarm, by=hands.by)  # noqa: E731
    stop: Callable[[], object] = lambda: operations.cancel(swarm, by=hands.by)  # noqa: E731
    said = at_once(again, again, stop, again, stop, again)
    assert [said[place] for place in (0, 1, 3, 5)].count("") == 1
    cancelled = "" in (said[2], said[4])
    hands.run(swarm)
    assert swarm.state == ("cancelled" if cancelled else "succeeded"), (said, swarm.because)
    assert violations(hands.team.schema_name, quiet=True) == []


def test_a_skip_a_retry_and_a_runner_at_once_leave_one_truth(failed: tuple[Swarm, Hands]) -> None:
    swarm, hands = failed
    operations.retry_swarm(swarm, by=hands.by)
    nodes = {node.key: node for node in swarm.nodes.select_related("swarm")}
    said = at_once(
        lambda: operations.skip(nodes["c"], by=hands.by),
        lambda: operations.skip(nodes["f"], by=hands.by),
        lambda: operations.retry_node(nodes["f"], by=hands.by),
        lambda: hands.turn(),
        lambda: operations.set_priority(swarm, 5, by=hands.by),
        lambda: operations.set_priority(nodes["c"], 7, by=hands.by),
    )
    assert said[4] == "", said
    hands.run(swarm)
    assert swarm.state == "succeeded", (said, swarm.because)
    assert violations(hands.team.schema_name, quiet=True) == []


def test_what_was_wrong_with_the_work_is_told_again_when_the_next_attempt_is_lost(team: Team, broker: object) -> None:
    make_runner()
    adopted(PlanProposal(summary="s", nodes=(PlanNode(key="a", title="a", role="developer", instructions="Do."),)))
    reasons = []
    for evidence in ("the parser forgets quotes", "", ""):
        Ticket.objects.update(not_before=F("created_at"))
        dispatch.dispatch()
        one = Execution.objects.get(kind="work", ended_at=None)
        reasons.append(one.assignment["briefing"].partition("## Why there is another attempt\n")[2])
        if evidence:
            outcome = FailureOutcome(reason=FailureReason.AGENT_ERROR, message="gave up", detail=evidence)
            assert executions.settle(one.pk, one.fence, outcome) == []
        else:
            assert executions.end(one.pk, "lost", reason="lost", because="its runner is gone")
    assert reasons[0] == ""
    assert all("agent_error" in each and "forgets quotes" in each for each in reasons[1:]), reasons
