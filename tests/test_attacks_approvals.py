"""Approvals under pressure: everybody at once, the wrong people, forged forms, a team's member that is a script."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from sessions.models import Event
from swarms import approvals
from swarms.digests import digest
from swarms.models import Approval, Project
from tenants.members import add_member
from tenants.models import Membership, Team, User
from tenants.roles import Role
from tests.board_stage import Stage
from tests.conftest import user_of
from tests.together import at_once

ROUNDS = 50
ClientFor = Callable[..., Client]


@pytest.fixture
def stage(committed_team: Team, settings: Any, tmp_path: Any, broker: object) -> Stage:
    settings.DATA_DIR = tmp_path / "data"
    return Stage(user_of("alice", "acme"))


def test_of_yes_no_and_too_late_one_counts_however_close_they_come(stage: Stage, committed_team: Team) -> None:
    alice, other = user_of("alice", "acme"), User.objects.create_user("ann@acme.example", None, name="Ann")
    add_member(committed_team, other, Role.APPROVER)
    seen = set()
    for number in range(ROUNDS):
        Approval.objects.filter(state="pending").update(state="void")
        gate = approvals.ask_landing(stage.swarm, [])
        late = number % 5 == 4
        if late:
            Approval.objects.filter(pk=gate.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
        said = at_once(
            committed_team.schema_name,
            lambda gate=gate: approvals.approve(gate, by=alice),
            lambda gate=gate: approvals.reject(gate, by=other, because="no"),
            lambda gate=gate: approvals.approve(gate, by=other),
            lambda gate=gate: approvals.expire(gate.pk),
        )
        gate.refresh_from_db()
        seen.add(gate.state)
        told = Event.objects.filter(kind="approval.decided", payload__approval=str(gate.pk))
        refused = sum(isinstance(one, approvals.NotDecidable) for one in said)
        assert (gate.state, told.count(), refused) == (("expired", 0, 3) if late else (gate.state, 1, 2))
        assert late or gate.decided_by in (alice, other)
    assert seen >= {"approved", "expired"}


def test_the_hash_of_what_is_asked_is_that_of_what_the_database_gives_back(stage: Stage) -> None:
    numbers = [1e16, 1e22, 1.5e300, -1e18, -0.0, 1e-7, 5e-324, 0.1, 1.0, 10**20, 2**63, 10**400]
    for number in numbers:
        with connection.cursor() as cursor:
            cursor.execute("SELECT %s::jsonb::text", [json.dumps({"n": [number]})])
            assert digest(json.loads(cursor.fetchone()[0])) == digest({"n": [number]}), number
    assert len({digest(number) for number in (1e16, 2e16, 1, 0.1, 0, -0.1)}) == 6
    Approval.objects.filter(state="pending").update(state="void")
    gate = approvals.ask_landing(stage.swarm, [{"node": "a", "score": number} for number in numbers])
    approvals.approve(gate, by=user_of("alice", "acme"))
    gate.refresh_from_db()
    assert gate.state == "approved"


@pytest.mark.parametrize("path", ["/approvals/{0}/decide/", "/admin/swarms/approval/{0}/change/"])
def test_a_decision_needs_the_teams_own_form(
    path: str, stage: Stage, committed_team: Team, client_for: ClientFor
) -> None:
    gate = stage.landing
    address = path.format(gate.pk)
    forms = ({"_approve": "1", "verdict": "approve"}, {"_reject": "1", "verdict": "reject", "because": "no"})
    alice = user_of("alice", "acme")
    for form in forms:
        assert client_for(alice, committed_team, enforce_csrf_checks=True).post(address, form).status_code == 403
        boosted = {"HX-Request": "true", "Origin": "http://globex.waggle.localhost:8000"}
        forged = client_for(alice, committed_team, enforce_csrf_checks=True)
        assert forged.post(address, form, headers=boosted).status_code == 403
        client_for(user_of("vera", "acme"), committed_team).post(address, form)
        client_for(user_of("bob", "acme"), committed_team).post(address, form)
        globex = Team.objects.get(domains__slug="globex")
        assert client_for(user_of("alice", "globex"), globex).post(address, form).status_code in (302, 404)
        assert client_for(user_of("alice", "globex"), committed_team).post(address, form).status_code == 404
        gate.refresh_from_db()
        assert gate.state == "pending"


def test_rows_of_the_admin_change_by_decisions_alone(stage: Stage, committed_team: Team, client_for: ClientFor) -> None:
    client = client_for(user_of("alice", "acme"), committed_team)
    gate = f"/admin/swarms/approval/{stage.landing.pk}"
    client.post(f"{gate}/change/", {"state": "approved", "digest": "0" * 64, "_save": "Save"})
    assert client.post(f"{gate}/delete/", {"post": "yes"}).status_code == 403
    assert client.get("/admin/swarms/approval/add/").status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [str(stage.landing.pk)], "post": "yes"}
    client.post("/admin/swarms/approval/", chosen)
    stage.landing.refresh_from_db()
    assert stage.landing.state == "pending"
    client.post(f"/admin/swarms/project/{stage.project.pk}/change/", {"source": "/etc", "_save": "Save"})
    assert Project.objects.get().source == "/srv/textkit"


def test_a_member_that_is_a_script_cannot_sign_in(committed_team: Team, client_for: ClientFor) -> None:
    robot = User.objects.create_user("robot@acme.example", None, name="Robot")
    add_member(committed_team, robot, Role.APPROVER)
    Membership.objects.filter(user=robot).update(is_automatic=True)
    assert not robot.has_usable_password()
    for password in ("", "!", robot.password, "None"):
        answer = client_for().post("/login/", {"email": robot.email, "password": password})
        assert answer.status_code == 422
