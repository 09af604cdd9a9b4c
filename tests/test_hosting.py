"""Enrolled servers as places to work: which is picked and why not, what members let be done there, who drives them."""

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from uuid import uuid4

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.test import Client
from django.utils import timezone

from agents import breakers, executions, hosting, registry, servers, sightings
from agents.contracts import FailureOutcome, FailureReason, PlanNode, PlanProposal
from agents.contracts import Host as Given
from agents.looking import Look
from agents.models import Agent, Execution, Server
from agents.placement import Candidate, Chosen, Nobody, choose
from agents.registry import Terms
from agents.runner.leftovers import NOTE, Leftovers
from agents.server_choice import Host
from agents.servers import Work
from agents.states import LIVE, ServerState
from sessions.models import Event
from swarms import conditions, dispatch
from swarms.models import Node, Project, Swarm
from tenants.models import Runner, Team, Ticket
from tenants.secrets import seal
from tests.conftest import user_of
from tests.fake_control_plane import FakeControlPlane
from tests.milestones import adopted
from tests.test_discovery import HEALTHY, PASSWORD, server
from tests.turn_stage import make_runner

ANNA = Candidate("anna", runtime="opencode", server="any")
BOX = Host("1", "box", "http://box:1", roles=("developer",), capacity=2, runners=("local",))


def of(*hosts: Host, one: Candidate = ANNA, **more: Any) -> Chosen | Nobody:
    return choose("developer", [one], runner="local", live=(), hosts=hosts, **more)


def box(**changes: Any) -> Host:
    return Host(**({name: getattr(BOX, name) for name in BOX.__dataclass_fields__} | changes))


def test_the_emptiest_server_that_fits_is_picked_and_the_execution_says_so() -> None:
    found = of(box(busy=1), box(id="2", name="crate", url="http://crate:1"))
    assert isinstance(found, Chosen)
    assert found.facts["server_name"] == "crate"
    assert "on the server crate, which has 0 of 2" in found.because
    assert found.driven == {"runtime": "opencode", "host": {"id": "2", "name": "crate", "url": "http://crate:1"}}
    named = of(
        box(), box(id="2", url="http://crate:1"), one=Candidate("ben", runtime="opencode", server="http://box:1")
    )
    assert isinstance(named, Chosen)
    assert named.host == BOX


@pytest.mark.parametrize(
    ("host", "why"),
    [
        (box(state="draining"), "box is draining"),
        (box(roles=("writer",)), "box takes no developer"),
        (box(shut="an attempt was lost"), "box is left alone: an attempt was lost"),
        (box(busy=2), "box has 2 of the 2 executions that it may have"),
        (box(runners=()), "no connected runner shares the disk of box"),
        (box(runners=("near", "far")), "near, far, on the machine of box, has no room"),
    ],
)
def test_each_server_that_is_not_picked_says_why(host: Host, why: str) -> None:
    found = of(host)
    assert isinstance(found, Nobody)
    assert found.text == f"developer: anna has no server: {why}"
    assert found.elsewhere == (("near", "far") if "near" in host.runners else ())
    assert not found.is_untrusted


def test_what_strangers_wrote_is_read_where_a_member_said_so() -> None:
    found = of(box(), untrusted=True)
    assert isinstance(found, Nobody)
    assert found.is_untrusted
    assert "box takes no work that reads strangers' words" in found.text
    assert isinstance(of(box(), box(takes_untrusted=True, id="2"), untrusted=True), Chosen)
    assert isinstance(choose("developer", [Candidate("ben")], runner="local", live=(), untrusted=True), Chosen)


def test_without_any_server_that_takes_work_it_says_that() -> None:
    found = of()
    assert isinstance(found, Nobody)
    assert found.text.endswith("anna works on enrolled servers only, and no server takes work")
    elsewhere = of(BOX, one=Candidate("ben", runtime="opencode", server="http://gone:1"))
    assert isinstance(elsewhere, Nobody)
    assert elsewhere.text.endswith("and the server http://gone:1 takes no work")


# With rows


@pytest.fixture
def swarm(team: Team, broker: object) -> Swarm:
    """Three nodes whose turn has come; the second reads strangers' words."""
    nodes = [
        PlanNode(key=key, title=key, role="developer", instructions=key, writes=(key,), untrusted=key == "b")
        for key in "abc"
    ]
    return adopted(PlanProposal(summary="s", nodes=tuple(nodes)))


@pytest.fixture
def local(settings: Any) -> None:
    """A laptop: servers may be on this machine, and the platform's runners drive them."""
    settings.LOCAL_SERVERS = True


def enrolled(name: str = "box", **fields: Any) -> Server:
    """A server that takes developers' work; its address leads nowhere."""
    known = {"roles": ["developer"], "capacity": 2, "state": ServerState.TRUSTED, "last_seen": timezone.now()}
    return Server.objects.create(name=name, url=f"http://{name}:4096", **{"is_given": True} | known | fields)


def driven(row: Server, name: str = "near") -> Runner:
    """A connected runner that shares its disk."""
    runner = make_runner(name)
    Runner.objects.filter(pk=runner.pk).update(boot=uuid4())
    runner.refresh_from_db()
    Server.objects.filter(pk=row.pk).update(shared_with=row.shared_with | {str(runner.pk): str(runner.boot)})
    row.refresh_from_db()
    return runner


def live() -> list[Execution]:
    return list(Execution.objects.filter(state__in=LIVE).exclude(kind="check").order_by("created_at"))


def why(swarm: Swarm, key: str) -> str:
    found = conditions.of_nodes(swarm, Node.objects.filter(swarm=swarm, key=key))
    return " ".join(reason.text for reasons in found.values() for reason in reasons)


def test_a_server_gets_as_much_as_it_has_room_for_on_the_runner_that_shares_its_disk(swarm: Swarm, local: None) -> None:
    row = enrolled()
    Node.objects.update(untrusted=False)
    make_runner("away")
    driven(row)
    registry.add(Terms("anna", ["developer"], runtime="opencode", server="any"))
    dispatch.dispatch()
    assert [(each.runner.name, each.placed["server_name"]) for each in live()] == [("near", "box"), ("near", "box")]
    assert {each.assignment["host"]["url"] for each in live()} == {row.url}
    assert "box has 2 of the 2 executions that it may have" in why(swarm, "c")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transaction, "on_commit", lambda act, robust=False: act())
        executions.end(live()[0].pk, "lost", reason="released", because="test")
    assert not Ticket.objects.filter(parked__startswith="agent:").exists(), "a free place on the server wakes nobody"
    dispatch.dispatch()
    assert len(live()) == 2


def test_work_that_reads_strangers_words_waits_alone(swarm: Swarm, local: None) -> None:
    row = enrolled(capacity=5)
    driven(row)
    registry.add(Terms("anna", ["developer"], runtime="opencode", server=row.url))
    dispatch.dispatch()
    assert sorted(each.title for each in (one.session for one in live())) == ["a (attempt 1)", "c (attempt 1)"]
    assert "box takes no work that reads strangers' words" in why(swarm, "b")
    Project.objects.update(untrusted_input=True)
    Ticket.objects.update(not_before=timezone.now())
    servers.place(row, Work(["developer"], 5, takes_untrusted=True))
    dispatch.dispatch()
    # There it has secrets and a way out, too: a person is asked first.
    node = Node.objects.get(key="b")
    assert (node.state, node.trifecta, len(live())) == ("blocked", True, 2)
    assert "it works on the server box, where agents are not locked in" in node.because


def test_the_administration_gives_a_server_work_by_the_verbs(team: Team, local: None, client_for: Any) -> None:
    row, client = enrolled(roles=[], is_given=False), client_for(user_of("alice", "acme"), team)
    page = f"/admin/agents/server/{row.pk}/change/"
    refused = client.post(page, {"roles": ["developer"], "capacity": 3})
    assert "Say that you want this" in refused.text
    assert client.post(page, {"roles": ["developer"], "capacity": 3, "unsandboxed": "on"}).status_code == 302
    row.refresh_from_db()
    assert (row.roles, row.capacity, row.takes_untrusted, row.state) == (["developer"], 3, False, "trusted")
    client.post("/admin/agents/server/", {"action": "drain", "_selected_action": [str(row.pk)]})
    row.refresh_from_db()
    assert row.state == "draining"
    assert "No OpenCode server is there" in client.post("/admin/agents/server/add/", {"url": "http://127.0.0.1:9"}).text
    assert client.post(f"/admin/agents/server/{row.pk}/delete/", {"post": "yes"}).status_code == 403
    servers.disable(row, because="x")
    assert client.post(f"/admin/agents/server/{row.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not Server.objects.exists()


def test_a_runner_of_all_teams_drives_nothing_but_on_a_laptop(swarm: Swarm, team: Team, settings: Any) -> None:
    settings.LOCAL_SERVERS = False
    row = enrolled()
    driven(row)
    assert hosting.drivers(row) == []
    mine = driven(row, "mine")
    Runner.objects.filter(pk=mine.pk).update(team=team)
    assert hosting.drivers(row) == ["mine"]
    Runner.objects.filter(pk=mine.pk).update(boot=uuid4())
    assert hosting.drivers(row) == [], "it was started anew since, perhaps on another machine"


def test_the_password_goes_to_the_runner_of_the_attempt_and_is_kept_nowhere_else(swarm: Swarm, local: None) -> None:
    row = enrolled()
    Server.objects.filter(pk=row.pk).update(password=seal(PASSWORD, row, "password"), username="opencode")
    driven(row)
    registry.add(Terms("anna", ["developer"], runtime="opencode", server="any"))
    dispatch.dispatch()
    mine = live()[0]
    team = Team.objects.get(domains__slug="acme")
    assert PASSWORD not in json.dumps([mine.assignment, mine.placed])
    given = executions.assignment_of(mine, team=team, token="t")
    assert given.host is not None
    assert (given.host.password, given.host.username) == (PASSWORD, "opencode")
    assert PASSWORD not in json.dumps(list(Event.objects.values_list("payload", flat=True)), default=str)


def test_what_a_server_has_is_taken_from_it_when_it_is_disabled_and_goes_on_when_it_is_drained(
    swarm: Swarm, local: None
) -> None:
    row = enrolled()
    driven(row)
    registry.add(Terms("anna", ["developer"], runtime="opencode", server="any"))
    dispatch.dispatch()
    before = live()
    assert servers.drain(row, because="test")
    assert live() == before
    with pytest.raises(ValidationError, match="at work"):
        servers.remove(row)
    assert servers.enable(row, because="test")
    assert row.state == ServerState.TRUSTED
    assert servers.disable(row, because="test")
    assert live() == []
    ended = Execution.objects.get(pk=before[0].pk)
    assert (ended.reason, ended.because) == ("released", "its server box is disabled")
    row.refresh_from_db()
    assert row.roles == []
    assert servers.enable(row, because="test")
    assert row.state == ServerState.QUARANTINED


def test_a_server_on_which_an_attempt_is_lost_rests(swarm: Swarm, local: None, settings: Any) -> None:
    row = enrolled()
    driven(row)
    registry.add(Terms("anna", ["developer"], runtime="opencode", server="any"))
    dispatch.dispatch()
    mine = live()[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transaction, "on_commit", lambda act, robust=False: act())
        outcome = FailureOutcome(reason=FailureReason.LOST, message="it does not answer")
        executions.settle(mine.pk, mine.fence, outcome)
    (host,) = hosting.hosts()
    assert host.shut == "it does not answer"
    told = Event.objects.get(kind="breaker.moved").payload
    assert (told["before"], told["after"], told["because"]) == ("closed", "open", "it does not answer")
    breakers.shared()._sync.delete(breakers.key(hosting.breaker(row).name))  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("work", "field"),
    [
        (Work(["developer"], 0), "capacity"),
        (Work(["gardener"], 1), "roles"),
    ],
)
def test_what_makes_no_place_to_work_is_refused(team: Team, work: Work, field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        servers.place(enrolled(), work)
    assert set(refused.value.message_dict) == {field}


def test_nothing_is_placed_on_a_server_that_nobody_trusts(team: Team) -> None:
    with pytest.raises(ValidationError, match="enrol it first"):
        servers.place(enrolled(state=ServerState.QUARANTINED, roles=[]), Work(["developer"]))
    with pytest.raises(IntegrityError), transaction.atomic():
        Server.objects.update(capacity=0)


def test_only_agents_of_opencode_have_a_server_and_one_that_is_listed(team: Team) -> None:
    row = enrolled()
    for given in ({"server": "any"}, {"server": "http://nowhere:1", "runtime": "opencode"}):
        with pytest.raises(ValidationError) as refused:
            registry.add(Terms("anna", ["developer"], **given))
        assert set(refused.value.message_dict) == {"server"}
    assert registry.add(Terms("anna", ["developer"], runtime="opencode", server=row.url)).server == row.url


def test_the_command_asks_for_a_word_before_work_is_placed(team: Team, local: None) -> None:
    row = enrolled(roles=[])
    team_options = {"team": "acme", "stdout": StringIO()}
    with pytest.raises(CommandError, match="nothing locks them in"):
        call_command("servers", "work", row.url, role=["developer"], **team_options)
    call_command("servers", "work", row.url, role=["developer"], capacity=3, unsandboxed=True, **team_options)
    row.refresh_from_db()
    assert (row.roles, row.capacity, row.takes_untrusted) == (["developer"], 3, False)
    call_command("servers", "drain", row.url, **team_options)
    call_command("servers", "list", **team_options)
    assert "draining  box" in team_options["stdout"].getvalue()
    assert "takes developer  0 of 3  by no runner" in team_options["stdout"].getvalue()


# Pages


def test_a_member_says_on_its_page_what_a_server_takes_and_knows_what_that_means(
    team: Team, local: None, client_for: Callable[..., Client]
) -> None:
    row = enrolled(roles=[])
    client = client_for(user_of("alice", "acme"), team)
    page = f"/servers/{row.pk}/"
    assert "Agents work on it without a sandbox" not in client.get(page).content.decode()
    refused = client.post(f"{page}work/", {"roles": ["developer"], "capacity": 3})
    assert refused.status_code == 422
    assert "Say that you want this" in refused.content.decode()
    row.refresh_from_db()
    assert row.roles == []
    client.post(f"{page}work/", {"roles": ["developer"], "capacity": 3, "unsandboxed": "on"})
    row.refresh_from_db()
    assert (row.roles, row.capacity, row.takes_untrusted) == (["developer"], 3, False)
    shown = client.get(page).content.decode()
    assert "Agents work on it without a sandbox" in shown
    assert "none that is connected shares its disk" in shown
    assert "no connected runner shares its disk" in client.get("/servers/").content.decode()
    driven(row)
    assert "near, on its machine" in client.get(page).content.decode()
    assert "0</b> of 3 at work" in client.get("/servers/").content.decode()
    assert f"Server {row.name}" in client.get("/agents/").content.decode()
    client.post(f"{page}drain/")
    assert "and has nothing under way" in client.get(page).content.decode()
    client.post(f"{page}enable/")
    row.refresh_from_db()
    assert row.state == ServerState.TRUSTED
    client.post(f"{page}work/", {"capacity": 3})
    row.refresh_from_db()
    assert row.roles == []


def test_an_agent_gets_its_server_on_its_page(team: Team, client_for: Callable[..., Client]) -> None:
    row = enrolled()
    client = client_for(user_of("alice", "acme"), team)
    terms = {"name": "anna", "roles": ["developer"], "runtime": "builtin", "server": row.url}
    assert "Only agents with the runtime opencode" in client.post("/agents/new/", terms).content.decode()
    client.post("/agents/new/", terms | {"runtime": "opencode"})
    assert Agent.objects.get(name="anna").server == row.url
    Server.objects.all().delete()
    assert f"{row.url} (takes no work)" in client.get("/agents/anna/").content.decode()


# Who drives a server


def test_a_round_of_discovery_finds_the_runners_that_share_a_servers_disk(swarm: Swarm, local: None) -> None:
    near, far = make_runner("near"), make_runner("far")
    boot = uuid4()
    Runner.objects.filter(pk=near.pk).update(boot=boot, proof="/srv/near/proof/boot")
    Runner.objects.filter(pk=far.pk).update(boot=uuid4(), proof="/srv/far/proof/boot")
    inbox: SimpleQueue[Any] = SimpleQueue()
    look = Look(inbox, loopback=True)
    # Whatever path it is asked for, it reads the file of one of them.
    with server(HEALTHY | {"content": f"{boot}\n"}, password=PASSWORD) as (url, paths):
        row = servers.add(url)
        servers.enrol(row, because="test", password=PASSWORD)
        Server.objects.filter(pk=row.pk).update(roles=["developer"])
        registry.add(Terms("anna", ["developer"], runtime="opencode", server="any"))
        dispatch.dispatch()
        assert live() == []
        look.again({}, [], hosting.untried_everywhere())
        found = inbox.get(timeout=30)
    look.close()
    asked = [path for path in paths if path.startswith("/file/content?")]
    assert sorted(asked) == [
        "/file/content?directory=%2Fsrv%2Ffar%2Fproof&path=boot",
        "/file/content?directory=%2Fsrv%2Fnear%2Fproof&path=boot",
    ]
    ((one, proofs),) = found.shared
    sightings.shared(one, proofs)
    assert hosting.drivers(Server.objects.get(pk=row.pk)) == ["near"]
    assert [[proof.path for proof in each.proofs] for each in hosting.untried()] == [["/srv/far/proof/boot"]]
    dispatch.dispatch()
    assert {each.runner.name for each in live()} == {"near"}, "what waited was not woken"


def test_a_server_whose_password_cannot_be_read_holds_up_nobody_else(swarm: Swarm, local: None, settings: Any) -> None:
    row = enrolled()
    Server.objects.filter(pk=row.pk).update(password=seal(PASSWORD, row, "password"), username="opencode")
    driven(row)
    registry.add(Terms("anna", ["developer"], runtime="opencode", server="any"))
    dispatch.dispatch()
    settings.ENCRYPTION_KEYS = (b"x" * 32,)
    given = executions.assignment_of(live()[0], team=Team.objects.get(domains__slug="acme"), token="t")
    assert given.host is not None
    assert given.host.password == ""
    make_runner("other")
    Runner.objects.filter(name="other").update(boot=uuid4(), proof="/srv/other/proof/boot")
    assert hosting.untried() == []


def test_no_password_is_on_a_runners_disk(tmp_path: Path) -> None:
    host = Given(id=uuid4(), name="box", url="http://box:4096", username="opencode", password=PASSWORD)
    assignment = FakeControlPlane(tmp_path / "plane").assignment(runtime="opencode", host=host)
    Leftovers(tmp_path, 1, 1).note(assignment, tmp_path / "run")
    assert PASSWORD not in (tmp_path / "run" / NOTE).read_text()
