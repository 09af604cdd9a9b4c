"""The dashboard's pages, for every role."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import get_resolver

from tenants.members import add_member
from tenants.models import Team, User
from tenants.roles import Role
from tests.board_stage import Stage
from tests.conftest import user_of


@pytest.fixture
def stage(team: Team) -> Stage:
    return Stage(user_of("alice", "acme"))


@pytest.fixture
def member(acme: Team) -> Callable[[Role], User]:
    def make(role: Role) -> User:
        user = User.objects.create_user(f"{role}@acme.example", None)
        add_member(acme, user, role)
        return user

    return make


@pytest.mark.parametrize("role", list(Role))
def test_every_page_can_be_read_by_every_role(
    stage: Stage, team: Team, client_for: Callable[..., Client], member: Callable[[Role], User], role: Role
) -> None:
    client = client_for(member(role), team)
    for name, address in stage.pages.items():
        answer = client.get(address)
        assert answer.status_code == 200, f"{name} {address}"
        assert b"<script>alert" not in answer.content, name


def test_every_page_of_the_dashboard_is_on_the_stage(stage: Stage) -> None:
    names = {
        getattr(p, "name", "")
        for m in ("swarms.urls", "agents.urls", "sessions.urls")
        for p in get_resolver(m).url_patterns
    }
    posts = {
        "project-new",
        "project-refetch",
        "goal-new",
        "plan-give",
        "plan-again",
        "swarm-pause",
        "swarm-resume",
        "swarm-cancel",
        "approval-decide",
    }
    assert names - posts == set(stage.pages)
