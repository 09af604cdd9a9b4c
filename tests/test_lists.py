"""Lists of swarms: by pages, filtered, and how many questions they ask."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from swarms.models import Goal, Plan, Swarm
from swarms.views import home, projects
from tenants.models import Team
from tests.board_stage import Stage
from tests.conftest import user_of


def _end(stage: Stage, numbers: range) -> None:
    for number in numbers:
        goal = Goal.objects.create(project=stage.project, number=number, text=f"Goal {number}", created_by=stage.by)
        Swarm.objects.create(project=stage.project, goal=goal, number=number, state="succeeded")


@pytest.fixture
def stage(team: Team) -> Stage:
    """Two swarms at work, and ten that are over."""
    stage = Stage(user_of("alice", "acme"))
    _end(stage, range(3, 13))
    return stage


@pytest.fixture
def alice(team: Team, client_for: Callable[..., Client]) -> Client:
    return client_for(user_of("alice", "acme"), team)


def _numbers(html: str) -> list[int]:
    return [int(number) for number in re.findall(r'class="row-link" href="/projects/textkit/swarms/(\d+)/"', html)]


def _older(html: str) -> str:
    found = re.search(r'href="([^"]*before=[^"]*)">Older ones', html)
    return found[1].replace("&amp;", "&") if found else ""


def test_a_swarm_whose_plan_has_faults_needs_somebody_until_there_is_another(stage: Stage, alice: Client) -> None:
    goal = Goal.objects.create(project=stage.project, number=13, text="Odd", created_by=stage.by)
    swarm = Swarm.objects.create(project=stage.project, goal=goal, number=13, state="planning")
    assert alice.get("/swarms/?state=planning").content.decode().count("Needs you") == 0
    Plan.objects.create(swarm=swarm, version=1, source="coordinator", state="invalid")
    assert alice.get("/swarms/?state=planning").content.decode().count("Needs you") == 1
    Plan.objects.create(swarm=swarm, version=2, source="coordinator", state="drafting")
    assert alice.get("/swarms/?state=planning").content.decode().count("Needs you") == 0


@pytest.mark.parametrize("first", ["/swarms/", "/swarms/?project=textkit", "/projects/textkit/"])
def test_every_swarm_is_on_one_page_of_the_list(stage: Stage, alice: Client, first: str) -> None:
    _end(stage, range(13, 63))
    seen: list[int] = []
    address = first
    while address:
        page = alice.get(address).content.decode()
        assert len(_numbers(page)) <= home.PAGE == projects.MOST_GOALS
        seen += _numbers(page)
        address = _older(page)
    assert seen == list(range(62, 0, -1))


def test_a_filter_stays_on_the_next_page(stage: Stage, alice: Client) -> None:
    _end(stage, range(13, 63))
    page = alice.get("/swarms/?state=succeeded").content.decode()
    assert _numbers(page) == list(range(62, 12, -1))
    older = alice.get(_older(page)).content.decode()
    assert _numbers(older) == list(range(12, 2, -1))
    assert 'href="/swarms/?state=succeeded">The newest ones' in older


def test_a_filter_that_fits_nothing_says_so(stage: Stage, alice: Client) -> None:
    assert b"No swarm is like that" in alice.get("/swarms/?state=failed").content
    assert alice.get("/swarms/?before=x").status_code == 404


def test_lists_ask_as_often_of_many_swarms_as_of_few(
    stage: Stage, alice: Client, content_queries: Callable[[], Any]
) -> None:
    def asked() -> dict[str, int]:
        counts = {}
        for address in ("/", "/projects/", "/projects/textkit/", "/swarms/", "/admin/swarms/swarm/"):
            with content_queries() as queries:
                alice.get(address)
            counts[address] = len(queries)
        return counts

    asked()
    few = asked()
    _end(stage, range(13, 63))
    assert asked() == few
