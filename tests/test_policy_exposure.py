"""Strangers' words, secrets and effects outside meet in no node that nobody approved: moves and database see to it."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from agents import registry, runners
from agents.contracts import Assignment, PlanNode, PlanProposal
from agents.contracts.link import PROTOCOL, Hello
from agents.models import Execution, Server
from agents.registry import Terms
from sessions.models import Event, Session
from swarms import approvals, conditions, exposure, goals, planner, toolrules
from swarms.decide import NodeView, Snapshot, decide
from swarms.models import Approval, Attempt, CheckRun, Node, Project
from tenants import tokens
from tenants.models import Runner, Team
from tests.board_stage import Stage
from tests.conftest import user_of
from tests.hands import Hands
from tests.test_engine import project, source, start

__all__ = ["project", "source"]

A = PlanNode(key="a", title="a", role="developer", instructions="a", writes=("a.txt",))
B = PlanNode(key="b", title="b", role="developer", instructions="b", writes=("b.txt",), depends_on=("a",))


def worker(assignment: Assignment, work: Path) -> str:
    key = assignment.briefing.split("`")[1]
    (work / f"{key}.txt").write_text("x\n")
    return f"wrote {key}"


def hands_for(team: Team, *nodes: PlanNode) -> Hands:
    return Hands(team, PlanProposal(summary="x", nodes=nodes), worker, by=user_of("alice", "acme"))


def starts_asked_for() -> list[str]:
    return [approval.node.key for approval in Approval.objects.filter(kind="node").order_by("requested_at")]


@pytest.mark.parametrize(
    ("plan", "of_project", "rule", "asks"),
    [
        ({"untrusted": True, "secrets": True, "effects": True}, {}, "", True),
        ({"untrusted": True, "secrets": True}, {}, "", False),
        ({"secrets": True, "effects": True}, {"untrusted_input": True}, "", True),
        ({"compensate": "Delete the release."}, {"untrusted_input": True, "has_secrets": True}, "", True),
        ({}, {"untrusted_input": True, "has_secrets": True}, "", False),
        ({}, {"untrusted_input": True, "has_secrets": True}, "ask", True),
        ({}, {"untrusted_input": True, "has_secrets": True}, "deny", False),
        ({}, {"untrusted_input": True}, "allow", False),
    ],
)
def test_who_is_exposed_to_all_three_asks_before_it_starts(
    project: Project, team: Team, plan: dict[str, Any], of_project: dict[str, bool], rule: str, asks: bool
) -> None:
    by = user_of("alice", "acme")
    if of_project:
        exposure.declare(project, **({"untrusted_input": False, "has_secrets": False} | of_project), by=by)
    if rule:
        toolrules.make(by=by, tool="web", verdict=rule, project=project)
    hands = hands_for(team, A.model_copy(update=plan))
    swarm = goals.state_goal(project, "Write it", by=by)
    hands.run(swarm)
    assert swarm.state == "succeeded", swarm.because
    assert starts_asked_for() == (["a"] if asks else [])
    assert Node.objects.get().trifecta == asks
    if asks:
        assert Approval.objects.get(kind="node").subject["trifecta"] is True


@pytest.mark.parametrize("hosted", [False, True])
def test_who_reads_strangers_words_and_is_not_locked_in_asks_before_it_starts(
    project: Project, team: Team, hosted: bool
) -> None:
    hands = hands_for(team, A, B)
    swarm = start(project, hands, "a")
    exposure.declare(project, untrusted_input=True, has_secrets=False, by=hands.by)
    where = unlocked(team, hands, hosted=hosted)
    for assignment in hands.held:
        hands.carry_out(assignment)
    hands.run(swarm, approve=False)
    for gate in Approval.objects.filter(kind="unconfined", state="pending"):  # about the checks of a
        approvals.approve(gate, by=hands.by)
    hands.run(swarm, approve=False)
    node = Node.objects.get(key="b")
    assert (node.state, starts_asked_for()) == ("awaiting_approval", ["b"])
    assert any(where in str(event.payload) for event in Event.objects.filter(subject=swarm.topic))
    hands.run(swarm)
    assert swarm.state == "succeeded", swarm.because


def unlocked(team: Team, hands: Hands, *, hosted: bool) -> str:
    """Has what starts from now on work without a sandbox; what people are told of that."""
    if not hosted:
        Runner.objects.filter(pk=hands.runner.pk).update(sandbox="unconfined")
        return "which locks nothing in"
    boot = uuid4()
    Runner.objects.filter(pk=hands.runner.pk).update(team=team, boot=boot)
    Server.objects.create(
        name="gpu1",
        url="http://127.0.0.1:9",
        state="trusted",
        roles=["developer"],
        takes_untrusted=True,
        shared_with={str(hands.runner.pk): str(boot)},
        last_seen=timezone.now(),
    )
    registry.add(Terms(name="anna", roles=("developer",), runtime="opencode", server="any"))
    return "on the server gpu1, where agents are not locked in"


def gate(state: str = "pending") -> Approval:
    return Approval.objects.get(kind="unconfined", state=state)


def test_a_coordinator_that_nothing_locks_in_asks_before_it_reads_strangers_words(
    project: Project, team: Team, client_for: Any
) -> None:
    exposure.declare(project, untrusted_input=True, has_secrets=False, by=user_of("alice", "acme"))
    hands = hands_for(team, A)
    unlocked(team, hands, hosted=False)
    swarm = goals.state_goal(project, "Write it", by=hands.by)
    hands.run(swarm, approve=False)
    assert hands.done == []
    assert "where nothing locks that in" in conditions.of_swarm(swarm)[0].text
    pages = client_for(hands.by, team)
    for page in (f"/approvals/{gate().pk}/", "/approvals/"):
        assert "which locks nothing in" in pages.get(page).text
    approvals.reject(gate(), by=hands.by, because="Not on that machine.")
    hands.run(swarm, approve=False)
    assert "Not on that machine." in swarm.plans.get().because
    planner.draft(swarm)
    hands.run(swarm, approve=False)
    assert hands.done == []
    approvals.approve(gate(), by=hands.by)
    hands.run(swarm)
    assert swarm.state == "succeeded", swarm.because
    assert [gate("approved").state, gate("rejected").state] == ["approved", "rejected"]  # the checks ask no more
    assert {title.partition(":")[0] for title in hands.done} == {"plan", "work", "check"}


@pytest.mark.parametrize("answer", ["yes", "no", "none in time"])
def test_checks_of_what_reads_strangers_words_ask_where_nothing_locks_them_in(
    project: Project, team: Team, answer: str
) -> None:
    hands = hands_for(team, A.model_copy(update={"untrusted": True}))
    swarm = start(project, hands, "a")
    unlocked(team, hands, hosted=False)
    for assignment in hands.held:
        hands.carry_out(assignment)
    hands.run(swarm, approve=False)
    node = Node.objects.get()
    assert (node.state, CheckRun.objects.get(purpose="exact").state) == ("verifying", "waiting")
    assert ["whether its checks may run" in one.text for one in conditions.of_node(node)] == [True]
    if answer == "yes":
        approvals.approve(gate(), by=hands.by)
    elif answer == "no":
        approvals.reject(gate(), by=hands.by, because="Never.")
    else:
        Approval.objects.filter(pk=gate().pk).update(expires_at=timezone.now())
        approvals.expire(gate().pk)
    hands.run(swarm)
    assert swarm.state == ("succeeded" if answer == "yes" else "failed"), swarm.because
    if answer != "yes":
        assert Node.objects.get().because.startswith("checks_broken: it works on the runner hands")
        assert not any(title.startswith("check:") and "commit" in title for title in hands.done)


def test_work_goes_where_it_is_locked_in_and_nobody_is_asked(project: Project, team: Team) -> None:
    hands = hands_for(team, A.model_copy(update={"untrusted": True}), B)
    swarm = start(project, hands, "a")
    unlocked(team, hands, hosted=False)
    safe = Runner.objects.create(
        name="safe", token=tokens.issue("runner")[0], capacity=1, channel="x", seen_at=timezone.now(), sandbox="unshare"
    )
    for assignment in hands.held:
        hands.carry_out(assignment)
    hands.run(swarm)
    assert swarm.state == "succeeded", swarm.because
    assert not Approval.objects.filter(kind="unconfined").exists()
    assert starts_asked_for() == []
    since = Execution.objects.exclude(session__title__contains="before").exclude(pk=hands.held[0].execution)
    assert {kind for kind, runner in since.values_list("kind", "runner") if runner == safe.pk} == {"work", "check"}
    assert set(since.exclude(kind="plan").values_list("runner", flat=True)) == {safe.pk}


def test_a_coordinator_goes_where_it_is_locked_in(project: Project, team: Team) -> None:
    exposure.declare(project, untrusted_input=True, has_secrets=False, by=user_of("alice", "acme"))
    hands = hands_for(team, A)
    unlocked(team, hands, hosted=False)
    swarm = goals.state_goal(project, "Write it", by=hands.by)
    safe = Runner.objects.create(
        name="safe", token=tokens.issue("runner")[0], capacity=4, channel="x", seen_at=timezone.now(), sandbox="unshare"
    )
    hands.run(swarm)
    assert swarm.state == "succeeded", swarm.because
    assert {one.kind for one in Approval.objects.all()} == {"plan", "landing"}
    assert set(Execution.objects.values_list("runner", flat=True)) == {safe.pk}


def test_what_was_placed_and_not_begun_is_placed_anew_when_its_runner_locks_in_no_more(
    project: Project, team: Team
) -> None:
    hands = hands_for(team, A.model_copy(update={"untrusted": True}))
    swarm = start(project, hands, "a")
    (held,) = hands.held
    hello = {"name": "hands", "boot": uuid4(), "version": "1", "protocol": PROTOCOL, "capacity": 4}
    Runner.objects.filter(pk=hands.runner.pk).update(channel="")
    runners.connect(hands.runner.pk, Hello(sandbox="unconfined", **hello), "there")
    first = Execution.objects.get(pk=held.execution)
    assert (first.state, first.reason, "another sandbox" in first.because) == ("lost", "released", True)
    hands.run(swarm, approve=False)
    node = Node.objects.get()
    assert (node.state, node.trifecta, node.failures, node.losses) == ("awaiting_approval", True, 0, 0)


def test_what_became_known_after_the_plan_holds_a_node_back_at_its_start(project: Project, team: Team) -> None:
    hands = hands_for(team, A, B.model_copy(update={"effects": True}))
    swarm = start(project, hands, "a")
    exposure.declare(project, untrusted_input=True, has_secrets=True, by=hands.by)
    for assignment in hands.held:
        hands.carry_out(assignment)
    hands.run(swarm)
    assert swarm.state == "succeeded", swarm.because
    assert starts_asked_for() == ["b"]


def test_who_hears_strangers_words_from_those_before_it_asks_too(project: Project, team: Team) -> None:
    exposed = {"secrets": True, "effects": True}
    c = PlanNode(key="c", title="c", role="developer", instructions="c", writes=("c.txt",), depends_on=("b",))
    d = c.model_copy(update={"key": "d", "depends_on": (), "writes": ("d.txt",)} | exposed)
    hands = hands_for(team, A.model_copy(update={"untrusted": True}), B, c.model_copy(update=exposed), d)
    swarm = goals.state_goal(project, "Write it", by=hands.by)
    hands.run(swarm)
    assert swarm.state == "succeeded", swarm.because
    assert starts_asked_for() == ["c"]


def test_a_no_ends_the_node(project: Project, team: Team) -> None:
    hands = hands_for(team, A.model_copy(update={"untrusted": True, "secrets": True, "effects": True}))
    swarm = goals.state_goal(project, "Write it", by=hands.by)
    hands.run(swarm, approve=False)
    approvals.approve(Approval.objects.get(kind="plan"), by=hands.by)
    hands.run(swarm, approve=False)
    node = Node.objects.get()
    assert node.state == "awaiting_approval"
    assert "strangers' words" in node.because
    approvals.reject(Approval.objects.get(kind="node"), by=hands.by, because="Too much.")
    hands.run(swarm, approve=False)
    assert swarm.state == "failed"
    assert Node.objects.get().state == "failed"


def test_deciding_asks_for_what_is_exposed() -> None:
    snapshot = Snapshot(state="running", nodes=(NodeView("a", "blocked", trifecta=True),), counts={"blocked": 1})
    (action,) = decide(snapshot)
    assert type(action).__name__ == "AskForNode"


# What the database refuses, whoever writes.


@pytest.fixture
def exposed(team: Team) -> Node:
    """A node that waits, exposed to all three."""
    stage = Stage(user_of("alice", "acme"))
    flags = {"untrusted": True, "secrets": True, "effects": True, "trifecta": True}
    words = {"role": "developer", "instructions": "x", "title": "X"}
    return Node.objects.create(swarm=stage.swarm, plan=stage.nodes["docs"].plan, key="x", **words, **flags)


def rogue(node: Node, assignments: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE swarms_node SET {assignments} WHERE id = %s", [node.pk])


@pytest.mark.parametrize("place", ["unconfined", "server"])
def test_no_attempt_of_it_begins_where_nothing_locks_it_in(exposed: Node, place: str) -> None:
    rogue(exposed, "trifecta = false, effects = false, secrets = false")
    runner = Runner.objects.create(
        name="x",
        token=tokens.issue("runner")[0],
        sandbox=place if place == "unconfined" else "bubblewrap",
    )
    words = {"kind": "work", "swarm": exposed.swarm_id, "runner": runner, "agent": "x", "assignment": {}}
    execution = Execution.objects.create(
        **words,
        subject=f"node:{exposed.pk}",
        session=Session.objects.create(subject="x", title="x", agent="x"),
        placed={"server": "x"} if place == "server" else {},
        lease_until=timezone.now(),
    )

    def begin(number: int) -> None:
        with transaction.atomic():
            Attempt.objects.create(node=exposed, number=number, execution=execution, base_commit="x")

    with pytest.raises(IntegrityError, match="is not locked in: nobody approved it"):
        begin(1)
    Runner.objects.filter(pk=runner.pk).update(sandbox="bubblewrap")
    Execution.objects.filter(pk=execution.pk).update(placed={})
    begin(1)


@pytest.mark.parametrize(("subject", "place"), [("plan", "unconfined"), ("plan", "server"), ("checks", "unconfined")])
def test_no_coordinator_and_no_check_begins_where_nothing_locks_it_in(exposed: Node, subject: str, place: str) -> None:
    sandbox = place if place == "unconfined" else "bubblewrap"
    runner = Runner.objects.create(name="x", token=tokens.issue("runner")[0], sandbox=sandbox)

    def begin(**placed: str) -> None:
        with transaction.atomic():
            Execution.objects.create(
                kind="plan" if subject == "plan" else "check",
                subject=f"{subject}:{exposed.pk}",
                swarm=exposed.swarm_id,
                runner=runner,
                agent="x",
                assignment={},
                placed=placed,
                session=Session.objects.create(subject="x", title="x", agent="x"),
                lease_until=timezone.now(),
            )

    with pytest.raises(IntegrityError, match="is not locked in: nobody approved it"):
        begin(**({"server": "x"} if place == "server" else {}))
    Runner.objects.filter(pk=runner.pk).update(sandbox="bubblewrap")
    begin()


def answer(node: Node, state: str) -> None:
    decided = {"decided_by": user_of("alice", "acme"), "decided_at": timezone.now()}
    Approval.objects.create(
        swarm=node.swarm,
        node=node,
        kind="node",
        title="x",
        subject={},
        digest="x",
        state=state,
        expires_at=timezone.now(),
        **(decided if state in ("approved", "rejected") else {}),
    )


@pytest.mark.parametrize("to", ["ready", "running"])
def test_a_rogue_update_does_not_start_it(exposed: Node, to: str) -> None:
    with pytest.raises(IntegrityError, match="nobody approved it"):
        rogue(exposed, f"state = '{to}'")
    answer(exposed, "approved")
    with pytest.raises(IntegrityError, match="nobody approved it"):
        rogue(exposed, f"state = '{to}'")  # what was approved may have changed while it was held


@pytest.mark.parametrize("state", ["", "pending", "rejected", "expired", "void"])
def test_only_an_approval_lets_it_start(exposed: Node, state: str) -> None:
    rogue(exposed, "state = 'awaiting_approval'")
    if state:
        answer(exposed, "approved")
        answer(exposed, state)
    with pytest.raises(IntegrityError, match="nobody approved it"):
        rogue(exposed, "state = 'ready'")
    if state != "pending":
        answer(exposed, "approved")
        rogue(exposed, "state = 'ready'")
        rogue(exposed, "state = 'running'")


@pytest.mark.parametrize("change", ["trifecta = false, effects = false", "trifecta = false, secrets = false"])
def test_a_rogue_update_does_not_make_it_harmless_once_it_is_asked_for(exposed: Node, change: str) -> None:
    rogue(exposed, "state = 'awaiting_approval'")
    with pytest.raises(IntegrityError, match="frozen"):
        rogue(exposed, change)
    with pytest.raises(IntegrityError, match="frozen"):
        rogue(exposed, f"state = 'ready', {change}")


def test_whoever_says_all_three_says_the_whole(exposed: Node) -> None:
    with pytest.raises(IntegrityError, match="does not say so"):
        rogue(exposed, "trifecta = false")
    fields = {field.attname: getattr(exposed, field.attname) for field in Node._meta.fields}
    other = Node(**(fields | {"id": exposed.plan_id, "key": "y", "state": "ready"}))
    with pytest.raises(IntegrityError, match="nobody approved it"):
        other.save(force_insert=True)


def test_other_nodes_start_as_before(exposed: Node) -> None:
    rogue(exposed, "trifecta = false, effects = false")
    rogue(exposed, "state = 'ready'")
