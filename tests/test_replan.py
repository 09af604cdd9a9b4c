"""The plan of a running swarm is changed where nothing ran, in one transaction."""

import html
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import Count
from django.test import Client

from agents.contracts import Assignment, PlanNode, PlanProposal
from agents.contracts.plan import EdgeCondition
from agents.models import Budget
from swarms import control, engine, operations, plan_rows, replan
from swarms.models import Approval, Edge, Node, Plan, Project, Swarm
from swarms.plan_yaml import PlanFaults, read_yaml
from tenants.context import in_schema
from tenants.models import Team, Ticket
from tests.conftest import user_of
from tests.replan_stage import Crew, begin, make_project, milestone, node, part, plan, states, text, wrong


@pytest.fixture
def project(team: Team, settings: Any, tmp_path: Path, broker: object) -> Iterator[Project]:
    """Nobody is asked, but where a test says so."""
    yield make_project(tmp_path, settings, approve_plan=False, approve_landing=False)
    assert wrong(team) == []


@pytest.fixture
def crew(team: Team) -> Crew:
    return Crew(team)


def counts(swarm: object) -> dict[str, tuple[int, int, int]]:
    rows = Node.objects.filter(swarm=swarm, dropped_by=None).values_list("key", "parents", "deps_left", "deps_ok")
    return {key: tuple(rest) for key, *rest in rows}  # type: ignore[misc]


def test_nodes_are_inserted_split_dropped_rewired_and_reworded_while_others_run(project: Project, crew: Crew) -> None:
    crew.hold = {"b"}
    swarm = begin(project, crew, plan(node("a"), node("b", "a"), node("c", "b"), node("d", "c")))
    crew.settle_down(swarm)
    assert states(swarm) == {"a": "succeeded", "b": "running", "c": "blocked", "d": "blocked"}
    wanted = plan(node("a"), node("b", "a"), node("c1", "b"), node("c2", "a"), node("d", "c1", "c2", title="New words"))
    made = replan.change(swarm, text(wanted), by=crew.by)
    assert made.changes == {"inserted": ["c1", "c2"], "dropped": ["c"], "rewired": ["d"], "reworded": ["d"]}
    engine.advance(swarm.pk)
    assert [p.state for p in swarm.plans.order_by("version")][1:] == ["superseded", "approved"]
    assert states(swarm) == {
        "a": "succeeded",
        "b": "running",
        "c": "skipped",
        "c1": "blocked",
        "c2": "ready",
        "d": "blocked",
    }
    assert counts(swarm) == {"a": (0, 0, 0), "b": (1, 0, 1), "c1": (1, 1, 0), "c2": (1, 0, 1), "d": (2, 2, 0)}
    dropped = Node.objects.get(key="c")
    assert (dropped.because, dropped.dropped_by, dropped.parents) == ("dropped by plan 3", made, 0)
    assert dict(Node.objects.values_list("key", "path_length")) | {"c": 0} == {
        "a": 4,
        "b": 3,
        "c": 0,
        "c1": 2,
        "c2": 2,
        "d": 1,
    }
    crew.let_go()
    crew.run(swarm)
    assert swarm.state == "succeeded", swarm.because
    assert Node.objects.get(key="d").title == "New words"
    assert "work:Write c (attempt 1)" not in crew.done


def test_limits_that_were_lowered_stop_what_is_added_and_not_the_swarm(project: Project, team: Team) -> None:
    crew = Crew(team, lambda assignment: plan(node("x")))
    crew.hold = {"b"}
    swarm = begin(project, crew, plan(part("p"), node("b", "p"), node("c", "b"), node("d", "b")))
    crew.settle_down(swarm)
    assert states(swarm)["b"] == "running"
    Project.objects.update(max_depth=0, max_nodes=2)
    swarm = Swarm.objects.get(pk=swarm.pk)
    now = replan.current(swarm)

    def without(*keys: str, **more: PlanNode) -> str:
        return text(now.model_copy(update={"nodes": (*(n for n in now.nodes if n.key not in keys), *more.values())}))

    with pytest.raises(PlanFaults, match=r"has 6 nodes; at most 5 are allowed"):
        replan.change(swarm, without(e=node("e")), by=crew.by)
    with pytest.raises(PlanFaults, match=r"Node 'e' is a plan, and plans nest at most 0 deep"):
        replan.change(swarm, without("c", e=part("e")), by=crew.by)
    assert replan.change(swarm, without("c"), by=crew.by).changes["dropped"] == ["c"]
    engine.advance(swarm.pk)
    crew.let_go()
    crew.run(swarm)
    assert swarm.state == "succeeded", swarm.because


def test_what_has_begun_cannot_be_changed(project: Project, crew: Crew) -> None:
    crew.hold = {"a"}
    swarm = begin(project, crew, plan(node("a"), node("b", "a")))
    crew.settle_down(swarm)
    with pytest.raises(PlanFaults, match="'a' is running: put its instructions back"):
        replan.change(swarm, text(plan(node("a", instructions="other"), node("b", "a"))), by=crew.by)
    with pytest.raises(PlanFaults, match="'a' is running and cannot be dropped"):
        replan.change(swarm, text(plan(node("b"))), by=crew.by)
    with pytest.raises(PlanFaults, match="Nothing changes"):
        replan.change(swarm, text(plan(node("a"), node("b", "a"))), by=crew.by)
    assert Plan.objects.filter(amends__isnull=False).count() == 0


def test_the_present_plan_can_be_given_back_as_it_is_shown(project: Project, crew: Crew) -> None:
    rich = node(
        "b",
        "a",
        when=(EdgeCondition(parent="a", field="summary", values=("wrote a",), negate=True),),
        fan_in="all_done",
        on_failure="continue",
        compensate="take it back",
        minutes=7,
        priority=3,
        budget_usd=0.5,
        risk="high",
    )
    swarm = begin(project, crew, plan(node("a"), rich, milestone("m", "b")))
    shown = replan.current(swarm)
    assert {one.key: one for one in shown.nodes} == {one.key: one for one in (node("a"), rich, milestone("m", "b"))}
    assert read_yaml(text(shown)) == shown


def test_a_node_that_waits_for_its_turn_is_rewired_and_loses_its_ticket(project: Project, crew: Crew) -> None:
    swarm = begin(project, crew, plan(node("a"), node("b"), node("c")))
    ticket = Ticket.objects.filter(subject=Node.objects.get(key="b").pk)
    assert ticket.exists()
    replan.change(swarm, text(plan(node("a"), node("b", "a"))), by=crew.by)
    engine.advance(swarm.pk)
    assert states(swarm) == {"a": "ready", "b": "blocked", "c": "skipped"}
    assert not ticket.exists()
    assert Ticket.objects.get(subject=Node.objects.get(key="a").pk).path == 2
    replan.change(swarm, text(plan(node("a"), node("b"))), by=crew.by)
    engine.advance(swarm.pk)
    assert states(swarm)["b"] == "ready"
    assert ticket.exists()
    crew.run(swarm)
    assert swarm.state == "succeeded", swarm.because


def test_a_key_that_was_dropped_stays_taken(project: Project, crew: Crew) -> None:
    swarm = begin(project, crew, plan(node("a"), node("b")))
    replan.change(swarm, text(plan(node("a"))), by=crew.by)
    engine.advance(swarm.pk)
    with pytest.raises(PlanFaults, match="'b' belonged to a node that was dropped"):
        replan.change(swarm, text(plan(node("a"), node("b"))), by=crew.by)


def test_a_change_waits_for_its_approval_and_the_swarm_waits_for_the_answer(project: Project, crew: Crew) -> None:
    swarm = begin(project, crew, plan(node("a")))
    Project.objects.update(approve_plan=True)
    project.refresh_from_db()
    made = replan.change(swarm, text(plan(node("a"), node("b", "a"))), by=crew.by)
    crew.settle_down(swarm)
    assert states(swarm) == {"a": "succeeded"}
    assert swarm.state == "running"
    gate = Approval.objects.get(state="pending")
    assert gate.plan == made
    assert gate.subject["changes"]["inserted"] == ["b"]
    crew.run(swarm)
    assert swarm.state == "succeeded", swarm.because
    assert states(swarm) == {"a": "succeeded", "b": "succeeded"}


def test_a_rejected_change_leaves_the_swarm_as_it_was(project: Project, crew: Crew) -> None:
    from swarms import approvals

    swarm = begin(project, crew, plan(node("a")))
    Project.objects.update(approve_plan=True)
    made = replan.change(swarm, text(plan(node("a"), node("b", "a"))), by=crew.by)
    approvals.reject(Approval.objects.get(state="pending"), by=crew.by, because="not now")
    crew.run(swarm)
    made.refresh_from_db()
    assert (made.state, made.because) == ("rejected", "not now")
    assert swarm.state == "succeeded", swarm.because
    assert states(swarm) == {"a": "succeeded"}


def test_a_change_that_came_too_late_becomes_invalid_and_changes_nothing(project: Project, crew: Crew) -> None:
    crew.hold = {"a"}
    swarm = begin(project, crew, plan(node("a"), node("b", "a")))
    Project.objects.update(approve_plan=True)
    made = replan.change(swarm, text(plan(node("a"), node("b", "a", title="Other"))), by=crew.by)
    crew.settle_down(swarm)
    assert states(swarm) == {"a": "running", "b": "blocked"}
    crew.let_go()
    crew.hold = {"b"}
    crew.settle_down(swarm)
    assert states(swarm)["b"] == "running"
    assert crew.approve_all() == 1
    engine.advance(swarm.pk)
    made.refresh_from_db()
    assert made.state == "invalid"
    assert "Node 'b' is running: put its title back" in made.faults[0]
    assert Node.objects.get(key="b").title == "Write b"
    crew.let_go()
    crew.run(swarm)
    assert swarm.state == "succeeded", swarm.because


def test_a_later_change_takes_the_place_of_one_that_waits(project: Project, crew: Crew) -> None:
    swarm = begin(project, crew, plan(node("a")))
    Project.objects.update(approve_plan=True)
    first = replan.change(swarm, text(plan(node("a"), node("b"))), by=crew.by)
    second = replan.change(swarm, text(plan(node("a"), node("c"))), by=crew.by)
    first.refresh_from_db()
    assert (first.state, first.approvals.get().state) == ("superseded", "void")
    crew.run(swarm)
    assert states(swarm) == {"a": "succeeded", "c": "succeeded"}
    second.refresh_from_db()
    assert second.state == "approved"


def test_the_coordinator_changes_the_plan_and_is_told_what_is_done(project: Project, team: Team) -> None:
    def answer(assignment: Assignment) -> PlanProposal:
        return plan(node("b", "a"), node("docs", "b"), node("d", "c", title="Write it anew"))

    crew = Crew(team, answer)
    crew.hold = {"c"}
    swarm = begin(project, crew, plan(node("a"), node("b", "a"), node("c"), node("d", "c", untrusted=True)))
    crew.hold = {"b", "c"}
    crew.turn()
    crew.turn()
    operations.pause(swarm, by=crew.by)
    replan.ask(swarm, "Add documentation", by=crew.by)
    crew.settle_down(swarm)
    briefing = crew.briefings[-1]
    assert "## What shall change\nAdd documentation" in briefing
    assert "`c` Write c (is running)" in briefing
    assert "docs" in states(swarm), Plan.objects.latest("version").faults
    rewritten = Node.objects.get(key="d")
    assert (rewritten.title, rewritten.untrusted) == ("Write it anew", True), "that is not for it to say"
    operations.resume(swarm, by=crew.by)
    crew.let_go()
    crew.run(swarm)
    assert swarm.state == "succeeded", swarm.because


def test_only_a_running_or_paused_swarm_changes_its_plan(project: Project, crew: Crew) -> None:
    swarm = begin(project, crew, plan(node("a")))
    crew.run(swarm)
    with pytest.raises(ValidationError, match="The swarm is succeeded"):
        replan.change(swarm, text(plan(node("a"), node("b"))), by=crew.by)
    with pytest.raises(ValidationError, match="Say what should be different"):
        replan.ask(swarm, " ", by=crew.by)


def test_new_work_after_a_parent_that_failed_softly_is_settled_at_once(project: Project, team: Team) -> None:
    from agents.contracts import FailureOutcome, FailureReason

    crew = Crew(team)
    crew.worker = lambda assignment, work: FailureOutcome(reason=FailureReason.SANDBOX_MISSING, message="none")
    crew.hold = {"b"}
    swarm = begin(project, crew, plan(node("a", on_failure="skip_descendants"), node("b")))
    crew.settle_down(swarm)
    assert states(swarm)["a"] == "failed"
    wanted = plan(
        node("a", on_failure="skip_descendants"), node("b"), node("never", "a"), node("always", "a", fan_in="all_done")
    )
    replan.change(swarm, text(wanted), by=crew.by)
    engine.advance(swarm.pk)
    assert states(swarm) == {"a": "failed", "always": "ready", "b": "running", "never": "skipped"}


def test_a_drained_swarm_keeps_its_plan(project: Project, crew: Crew) -> None:
    crew.hold = {"a"}
    swarm = begin(project, crew, plan(node("a")))
    crew.settle_down(swarm)
    Project.objects.update(approve_plan=True)
    made = replan.change(swarm, text(plan(node("a"), node("b"))), by=crew.by)
    operations.drain(swarm, by=crew.by)
    crew.let_go()
    crew.run(swarm)
    made.refresh_from_db()
    assert made.state == "superseded"
    assert swarm.state == "succeeded", swarm.because


def test_a_change_that_is_being_written_ends_with_the_drain_itself(project: Project, crew: Crew) -> None:
    crew.hold = {"a"}
    swarm = begin(project, crew, plan(node("a")))
    crew.settle_down(swarm)
    made = replan.ask(swarm, "another one", by=crew.by)
    operations.drain(swarm, by=crew.by)
    made.refresh_from_db()
    assert made.state == "superseded"
    assert not Ticket.objects.filter(kind="plan").exists()
    crew.let_go()
    crew.run(swarm)
    assert swarm.state == "succeeded", swarm.because


def test_changes_while_nodes_start_leave_every_count_right(
    committed_team: Team, settings: Any, tmp_path: Path, broker: object
) -> None:
    made = make_project(tmp_path, settings, approve_plan=False, approve_landing=False, max_nodes=400)
    crew = Crew(committed_team)
    chains = [milestone(f"n{i}x{j}", *([f"n{i}x{j - 1}"] if j else [])) for i in range(4) for j in range(40)]
    swarm = begin(made, crew, plan(*chains, node("last", "n0x39")))
    told: list[str] = []
    enough = threading.Event()

    def work() -> None:
        try:
            with in_schema(committed_team.schema_name):
                while not enough.is_set():
                    control.serve()
        except Exception as error:  # told to the test, which would not see it
            told.append(f"worker: {error!r}")
        finally:
            connection.close()

    worker = threading.Thread(target=work)
    worker.start()
    for number in range(10):
        try:
            replan.change(swarm, text(another(swarm, number)), by=crew.by)
            engine.advance(swarm.pk)
            told.append(Plan.objects.filter(swarm=swarm).latest("version").state)
        except PlanFaults as error:
            told.append(f"faults: {error}")
    enough.set()
    worker.join(60)
    assert not worker.is_alive()
    assert not [line for line in told if line.startswith("worker")]
    assert told.count("approved") >= 3, told
    crew.settle_down(swarm)
    assert swarm.state == "succeeded", (swarm.because, told)
    assert wrong(committed_team) == []
    for one in Node.objects.filter(swarm=swarm, dropped_by=None).annotate(n=Count("edges_in")):
        assert (one.parents, one.deps_left, one.deps_ok) == (one.n, 0, one.n)
    assert not Edge.objects.filter(child__dropped_by__isnull=False).exists()
    assert not Edge.objects.filter(parent__dropped_by__isnull=False).exists()


def another(swarm: Swarm, number: int) -> PlanProposal:
    """The plan with one node more at an end, and now and then the last that has not begun left out."""
    present = plan_rows.present(swarm)
    nodes = [one.node for one in present]
    needed = {key for one in nodes for key in one.depends_on}
    ends = [one.node.key for one in present if not one.begun and one.node.key not in needed and one.node.key != "last"]
    if number % 3 == 2 and ends:
        nodes = [one for one in nodes if one.key != ends[-1]]
        ends.pop()
    return plan(*nodes, milestone(f"extra{number}", *ends[:2]))


def test_the_plan_is_changed_on_a_page_that_loses_nothing(
    project: Project, crew: Crew, team: Team, client_for: Callable[..., Client]
) -> None:
    crew.hold = {"a"}
    swarm = begin(project, crew, plan(node("a"), node("b", "a")))
    crew.settle_down(swarm)
    Project.objects.update(approve_plan=True)
    browser = client_for(crew.by, team)
    here = f"/projects/files/swarms/{swarm.number}/"
    assert b"plan/change/" in browser.get(here).content
    shown = browser.get(f"{here}plan/change/").content.decode()
    assert "# is running: stays as it is\n- key: a" in html.unescape(shown)
    wrong = text(plan(node("a", title="MINE"), node("b", "a")))
    refused = browser.post(f"{here}plan/change/", {"yaml": wrong, "then": "propose"})
    assert refused.status_code == 422
    assert b"put its title back" in refused.content
    assert b"MINE" in refused.content
    wanted = text(plan(node("a"), node("c", "a")))
    looked = browser.post(f"{here}plan/change/", {"yaml": wanted, "then": "look"})
    assert b"This would change" in looked.content
    assert not Plan.objects.filter(swarm=swarm, changes__isnull=False).exists()
    assert browser.post(f"{here}plan/change/", {"yaml": wanted, "then": "propose"}).status_code == 302
    engine.advance(swarm.pk)
    gate = Approval.objects.get(state="pending")
    for page in (here, f"/approvals/{gate.pk}/"):
        content = browser.get(page).content.decode()
        assert "Inserted" in content, page
        assert "Dropped" in content, page
    assert browser.post(f"{here}plan/ask/", {"note": ""}).status_code == 422
    assert browser.post(f"{here}plan/ask/", {"note": "Add docs"}).status_code == 302
    assert Plan.objects.filter(swarm=swarm).latest("version").because == "Add docs"
    gate.refresh_from_db()
    assert gate.state == "void"
    viewer = client_for(user_of("vera", "acme"), team)
    assert viewer.get(f"{here}plan/change/").status_code == 403


def test_a_budget_follows_the_plan_and_stays_where_only_words_change(project: Project, crew: Crew) -> None:
    swarm = begin(project, crew, plan(node("a", budget_usd=1), node("b", budget_usd=2), node("c", budget_usd=3)))
    wanted = plan(node("a", budget_usd=1, title="New"), node("b"), node("c", budget_usd=4), node("d", budget_usd=5))
    made = replan.change(swarm, text(wanted), by=crew.by)
    assert made.changes["reworded"] == ["a", "b", "c"]
    engine.advance(swarm.pk)
    names = {f"node:{one.pk}": one.key for one in Node.objects.filter(swarm=swarm)}
    limits = {names[one.subject]: one.limit_microusd for one in Budget.objects.filter(subject__in=names)}
    assert limits == {"a": 1_000_000, "c": 4_000_000, "d": 5_000_000}
    assert [one.budget_usd for one in replan.current(swarm).nodes] == [1, None, 4, 5]
