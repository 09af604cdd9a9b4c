"""A goal that goes on from an event of another swarm: what was merged is kept, the rest is planned anew and lands."""

import html
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.test import Client

from agents.contracts import PlanNode
from agents.contracts.plan import EdgeCondition
from sessions.models import Event
from swarms import operations, plan_yaml
from swarms.models import Approval, Project, Swarm
from swarms.refusals import NotNow
from swarms.replay import fork as forks
from swarms.replay import stories
from swarms.replay.carry import rest
from swarms.replay.scene import NodeSeen, PlanSeen, Scene, WhenSeen
from swarms.workspace import repos
from tenants import programs
from tenants.models import Membership, Team
from tests.conftest import user_of
from tests.replan_stage import Crew, begin, make_project, node, part, plan, states, text, wrong
from tests.rollback_stage import git, listed


@pytest.fixture
def project(team: Team, settings: Any, tmp_path: Path, broker: object) -> Iterator[Project]:
    yield make_project(tmp_path, settings, approve_plan=True, approve_landing=True)
    assert wrong(team) == []


@pytest.fixture
def crew(team: Team) -> Crew:
    return Crew(team)


@pytest.fixture
def swarm(project: Project, crew: Crew) -> Swarm:
    """`a` is merged, `b` is at work, `c` waits."""
    crew.hold = {"b"}
    found = begin(project, crew, plan(node("a"), node("b", "a"), node("c", "a", "b")))
    crew.settle_down(found)
    assert states(found) == {"a": "succeeded", "b": "running", "c": "blocked"}
    return found


def event(swarm: Swarm, kind: str, **payload: str) -> int:
    """The number of the last such event."""
    words = {f"payload__{name}": value for name, value in payload.items()}
    return (
        Event.objects.filter(subject=swarm.topic, kind=kind, **words).order_by("-seq").values_list("seq", flat=True)[0]
    )


def test_a_fork_keeps_what_was_merged_and_lands_with_its_own_plan(
    project: Project, swarm: Swarm, crew: Crew, tmp_path: Path
) -> None:
    at = event(swarm, "node.merged", node="a")
    then = swarm.integration_commit
    # The first swarm goes on to its end, with another b; the fork does not see that.
    crew.let_go()
    crew.run(swarm)
    assert swarm.state == "succeeded", swarm.because
    found = forks.proposal(swarm, at)
    assert (found.scene.branch, found.rest.kept) == (then, ("a",))
    assert found.goal.startswith("Fork of #1 at event ")
    left = plan_yaml.read_yaml(found.yaml)
    assert {one.key: one.depends_on for one in left.nodes} == {"b": (), "c": ("b",)}
    wanted = plan(node("b2"), node("d", "b2"))
    made = forks.fork(swarm, at, plan=text(wanted), by=crew.by)
    assert (made.number, made.state) == (2, "proposed")
    assert (made.forked_from, made.forked_at, made.forked_commit) == (swarm, at, then)
    assert (made.base_commit, made.integration_commit) == (swarm.base_commit, then)
    crew.run(made, approve=False)
    (asked,) = Approval.objects.filter(swarm=made, state="pending")
    assert asked.kind == "plan"
    crew.approve_all()
    crew.run(made, approve=False)
    (asked,) = Approval.objects.filter(swarm=made, state="pending")
    # Whoever decides sees what lands: also what was merged before the fork.
    seen = repos.diff(project, asked.subject["base"], asked.subject["commit"])
    assert [name in seen for name in ("a.txt", "b2.txt", "d.txt", "c.txt")] == [True, True, True, False]
    crew.run(made)
    assert made.state == "succeeded", made.because
    assert listed(tmp_path / "source") == ["README", "a.txt", "b.txt", "b2.txt", "c.txt", "d.txt"]
    assert "work:Write a (attempt 1)" in crew.done
    assert crew.done.count("work:Write a (attempt 1)") == 1
    assert stories.of_swarm(made).at(1).payload["base"] == then


def test_a_fork_of_a_swarm_that_failed_lands_the_work_that_it_had_merged(
    project: Project, swarm: Swarm, crew: Crew, tmp_path: Path
) -> None:
    operations.cancel(swarm, by=crew.by)
    crew.let_go()
    crew.run(swarm)
    assert swarm.state == "cancelled"
    assert listed(tmp_path / "source") == ["README"]
    made = forks.fork(swarm, stories.of_swarm(swarm).last(), plan="", by=crew.by)
    crew.run(made)
    assert made.state == "succeeded", made.because
    assert listed(tmp_path / "source") == ["README", "a.txt", "b.txt", "c.txt"]
    assert git(tmp_path / "source", "log", "-1", "--format=%s").startswith("Land goal #2: Fork of #1 at event ")
    assert swarm.state == "cancelled"


def test_what_cannot_be_forked_is_told(project: Project, swarm: Swarm, crew: Crew) -> None:
    last = stories.of_swarm(swarm).last()
    for at in (0, last + 1):
        with pytest.raises(ValidationError, match=f"there is no event {at}"):
            forks.fork(swarm, at, plan="", by=crew.by)
    with pytest.raises(NotNow, match="there was no plan yet"):
        forks.fork(swarm, 1, plan="", by=crew.by)
    with pytest.raises(plan_yaml.PlanFaults, match="depends on 'zzz'"):
        forks.fork(swarm, last, plan=text(plan(node("x", "zzz"))), by=crew.by)
    assert Swarm.objects.count() == 1
    project.refresh_from_db()
    assert project.last_number == 1
    early = event(swarm, "plan.proposed")
    assert [one.key for one in forks.proposal(swarm, early).rest.plan.nodes] == ["a", "b", "c"]


def test_the_page_has_the_rest_of_the_plan_and_keeps_what_was_typed(
    swarm: Swarm, team: Team, client_for: Callable[..., Client]
) -> None:
    alice = client_for(user_of("alice", "acme"), team)
    at = event(swarm, "node.merged", node="a")
    address = f"/projects/files/swarms/1/replay/fork/?at={at}"
    shown = html.unescape(alice.get(address).text)
    assert "What was merged by then is kept" in shown
    assert "- key: b" in shown
    assert "- key: a\n" not in shown
    wrong_plan = alice.post(address, {"text": "Other", "yaml": "nodes: [{key: x, title: X}]\n# mine"})
    assert wrong_plan.status_code == 422
    assert "# mine" in wrong_plan.text
    assert "has empty instructions" in wrong_plan.text
    made = alice.post(address, {"text": "Another way", "yaml": text(plan(node("z")))})
    assert made["Location"] == "/projects/files/swarms/2/"
    page = alice.get("/projects/files/swarms/2/").text
    assert f"#1 at event {at}" in page
    assert Swarm.objects.get(number=2).goal.text == "Another way"
    gone = alice.get("/projects/files/swarms/1/replay/fork/?at=1", follow=True)
    assert "there was no plan yet" in gone.text


def test_programs_and_operators_fork_too(swarm: Swarm, team: Team, client: Client) -> None:
    at = event(swarm, "node.merged", node="a")
    bob = Membership.objects.get(team=team, user=user_of("bob", "acme"))
    vera = Membership.objects.get(team=team, user=user_of("vera", "acme"))
    secrets = {name: programs.issue(who, name=name, days=1)[1] for name, who in (("bob", bob), ("vera", vera))}
    root = f"/t/acme/api/v1/swarms/{swarm.pk}"

    def ask(path: str, who: str = "bob", **given: Any) -> Any:
        headers = {"authorization": f"Bearer {secrets[who]}"}
        if not given:
            return client.get(f"{root}/{path}", headers=headers)
        return client.post(f"{root}/{path}", given, content_type="application/json", headers=headers)

    scene = ask(f"replay?at={at}", "vera").json()
    assert {one["key"]: one["state"] for one in scene["nodes"]} == {"a": "succeeded", "b": "ready", "c": "blocked"}
    assert scene["merges"] == [{"node": "a", "commit": scene["branch"]}]
    assert ask("replay", "vera").json()["event"] == ask("replay", "vera").json()["last"]
    for odd in ("9999", "-1", "0" * 18 + "1" + "0" * 5000):
        assert ask(f"replay?at={odd}").status_code == 422
    left = ask(f"fork/{at}").json()
    assert (left["kept"], left["commit"]) == (["a"], scene["branch"])
    assert ask("fork", "vera", at=at).status_code == 403
    assert ask("fork", at=1).status_code == 409
    assert ask("fork", at=at, plan="nodes: 3").status_code == 422
    made = ask("fork", at=at, plan=left["plan"], goal="By a program")
    assert made.status_code == 201
    assert (made.json()["number"], made.json()["state"]) == (2, "proposed")
    out = io.StringIO()
    call_command("fork_swarm", "files#1", "--at", str(at), "--show", stdout=out)
    assert "key: b" in out.getvalue()
    call_command("fork_swarm", "files#1", "--at", str(at), "--by", "bob@acme.example", stdout=out)
    assert "files #3" in out.getvalue()
    assert Swarm.objects.get(number=3).goal.created_by == bob.user
    for words, says in ((("--at", "1"), "no plan yet"), (("--at", str(at), "--by", "x@y.example"), "no member")):
        with pytest.raises(CommandError, match=says):
            call_command("fork_swarm", "files#1", *words)


def test_details_of_a_node_are_carried_under_keys_that_a_person_may_choose(project: Project, team: Team) -> None:
    crew = Crew(team, lambda assignment: plan(node("x"), node("y", "x")))
    crew.hold = {"big--y"}
    swarm = begin(project, crew, plan(part("big"), node("end", "big")))
    for _ in range(4):
        crew.settle_down(swarm)
        crew.approve_all()
    assert states(swarm) == {"big": "succeeded", "big--x": "succeeded", "big--y": "running", "end": "blocked"}
    found = forks.proposal(swarm, stories.of_swarm(swarm).last())
    assert found.rest.kept == ("big", "big--x")
    assert {one.key: one.depends_on for one in found.rest.plan.nodes} == {"big-y": (), "end": ("big-y",)}
    assert "# was at work, and begins again\n- key: big-y" in found.yaml
    made = forks.fork(swarm, found.at, plan="", by=crew.by)
    assert (made.state, made.integration_commit) == ("proposed", found.scene.branch)


def seen(key: str, state: str, *parents: str, when: tuple[WhenSeen, ...] = ()) -> NodeSeen:
    words = {"title": key, "kind": "agent", "role": "developer", "risk": "low", "under": "", "undoes": ""}
    numbers = {"version": 1, "priority": 0, "max_attempts": 3}
    return NodeSeen(id=key, key=key, parents=parents, when=when, state=state, because="red", **words, **numbers)


def test_nobody_waits_for_what_is_kept_and_conditions_on_it_are_told() -> None:
    condition = EdgeCondition(parent="a", field="verdict", values=("approve",))
    written = plan(
        node("a"),
        node("b", "a", when=(condition,)),
        node("c", "a", "b", fan_in="any_success"),
        node("d", "b", fan_in="all_done"),
        node("e", "a", fan_in="all_done"),
    )
    when = (WhenSeen("a", "verdict", ("approve",), False),)
    nodes = [
        seen("a", "succeeded"),
        seen("b", "failed", "a", when=when),
        seen("c", "blocked", "a", "b"),
        seen("d", "skipped", "b"),
        seen("e", "ready", "a"),
    ]
    scene = Scene(nodes={one.id: one for one in nodes}, plans={"p": PlanSeen(1, "yaml", "", "approved")})
    found = rest(scene, lambda version: written.model_dump(mode="json") if version == 1 else None)
    assert found is not None
    left: dict[str, PlanNode] = {one.key: one for one in found.plan.nodes}
    assert {key: (one.depends_on, one.fan_in, one.when) for key, one in left.items()} == {
        "b": ((), "all_success", ()),
        "c": ((), "all_success", ()),
        "d": (("b",), "all_done", ()),
        "e": ((), "all_success", ()),
    }
    assert found.notes == {
        "b": "had failed: red; waited until a says that verdict is approve",
        "d": "was skipped: red",
    }
