"""The replay page without a browser: any event by its address, jumps, plain links; and scenes that are kept."""

import re
from collections.abc import Callable
from io import BytesIO
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from config.env import PROJECT_ROOT
from sessions.events import acting, publish, publish_all
from swarms import words
from swarms.models import Swarm
from swarms.replay import archives, stories
from swarms.replay import export as exports
from swarms.replay.checkpoints import EVERY, Checkpoints, scene_at
from swarms.replay.fold import fold
from swarms.replay.scene import Scene
from tenants.models import Team
from tests.board_stage import Stage
from tests.conftest import user_of

BASE = "/projects/textkit/swarms/1/replay/"


@pytest.fixture
def stage(team: Team) -> Stage:
    return Stage(user_of("alice", "acme"))


@pytest.fixture
def alice(team: Team, client_for: Callable[..., Client]) -> Client:
    return client_for(user_of("alice", "acme"), team)


def event(stage: Stage, kind: str) -> int:
    story = stories.of_swarm(stage.swarm)
    return story.before(story.last(), 1, [kind])[0].seq


def test_every_event_has_an_address_and_links_to_its_neighbours(stage: Stage, alice: Client) -> None:
    last = stories.of_swarm(stage.swarm).last()
    for at in range(1, last + 1):
        page = alice.get(f"{BASE}?at={at}").text
        assert f'data-at="{at}" data-last="{last}"' in page
        assert (f'rel="prev" data-step="-1" href="{BASE}?at={at - 1}"' in page) is (at > 1)
        assert (f'rel="next" data-step="1" href="{BASE}?at={at + 1}"' in page) is (at < last)
        assert alice.get(f"{BASE}now/?at={at}").text.strip() in page
    for wrong, shown in (("", 1), ("0", 1), ("x", 1), ("-3", 1), ("9" * 30, 1), ("99999", last)):
        assert f'data-at="{shown}"' in alice.get(f"{BASE}?at={wrong}").text, wrong


def test_an_event_names_what_it_follows_from_here_and_in_an_archive(stage: Stage, alice: Client) -> None:
    topic, elsewhere = stage.swarm.topic, uuid4()
    with acting(f"user:{stage.by.pk}"):
        first = publish(topic, "decision.made", by="engine", what="Count the <b>vowels</b>", why="")
        second = publish(topic, "decision.made", by="engine", what="and then", why="")
    third = publish(topic, "decision.made", by="engine", what="last", why="", cause=elsewhere)
    file = BytesIO()
    exports.export(stage.swarm, file)
    archive = archives.bring_in(file, by=stage.by)
    for base in (BASE, f"/archives/{archive.pk}/"):
        pages = {told.seq: alice.get(f"{base}now/?at={told.seq}").text for told in (first, second, third)}
        assert "Follows from no other event" in pages[first.seq]
        link = f'Follows from <a class="replay-line" href="{base}?at={first.seq}" data-at="{first.seq}">'
        says = pages[second.seq].partition(link)[2].partition("</a>")[0]
        assert says.startswith(f"event {first.seq}: ")
        assert "&lt;b&gt;vowels&lt;/b&gt;" in says
        assert f"Follows from event <code>{elsewhere}</code> of something else" in pages[third.seq]
        for told in (first, second, third):
            assert f"id <code>{told.pk}</code>" in pages[told.seq]
            assert (f"trace <code>{told.trace}</code>" in pages[told.seq]) is bool(told.trace)


def test_nothing_that_came_later_is_shown(stage: Stage, alice: Client) -> None:
    before = event(stage, "nodes.planned") - 1
    early, late = alice.get(f"{BASE}now/?at={before}").text, alice.get(f"{BASE}now/?at=99999").text
    assert "At this event there was no plan" in early
    assert 'data-key="parser"' in late
    lines = [int(seq) for seq in re.findall(r'<li data-seq="(\d+)"', early)]
    assert lines == sorted(lines, reverse=True)
    assert max(lines) <= before
    landed = event(stage, "swarm.landed")
    assert "Landed on <code>main</code>" not in alice.get(f"{BASE}now/?at={landed - 1}").text
    marked = alice.get(f"{BASE}now/?at={landed}").text
    assert "Landed on <code>main</code>" in marked
    assert re.findall(r'data-seq="(\d+)" aria-current="true"', marked) == [str(landed)]


@pytest.mark.parametrize(
    ("word", "kinds"),
    [
        ("decision", {"decision.made"}),
        ("approval", {"approval.asked", "approval.decided"}),
        ("merge", {"node.merged", "swarm.landed"}),
        ("failure", {"attempt.moved", "merge.conflicted", "checks.finished"}),
    ],
)
def test_one_jumps_from_mark_to_mark_and_back(stage: Stage, alice: Client, word: str, kinds: set[str]) -> None:
    story = stories.of_swarm(stage.swarm)

    def walk(at: int, way: str) -> list[int]:
        found = []
        while (to := alice.get(f"{BASE}jump/?at={at}&to={word}&way={way}", headers={"hx-request": "true"}).json())[
            "at"
        ]:
            found.append(at := to["at"])
        assert to["says"] == f"There is no {'later' if way == 'next' else 'earlier'} {word}."
        return found

    there = walk(1, "next")
    assert {event.kind for seq in there if (event := story.at(seq))} == kinds
    assert walk(story.last(), "previous") == [seq for seq in reversed(there) if seq < story.last()]
    plain = alice.get(f"{BASE}jump/?at=1&to={word}&way=next")
    assert (plain.status_code, plain["Location"]) == (302, f"{BASE}?at={there[0]}")
    none = alice.get(f"{BASE}jump/?at={there[-1]}&to={word}&way=next", follow=True)
    assert f"There is no later {word}." in none.text


def test_no_other_jump_is_known(stage: Stage, alice: Client) -> None:
    for query in ("to=nothing", "to=merge&way=sideways"):
        assert alice.get(f"{BASE}jump/?at=1&{query}").status_code == 404


def test_the_times_of_events_go_on_from_a_number(stage: Stage, alice: Client) -> None:
    whole = alice.get(f"{BASE}times/").json()
    assert [seq for seq, _ in whole["moments"]] == list(range(1, whole["last"] + 1))
    rest = alice.get(f"{BASE}times/?after=3").json()
    assert rest["moments"] == whole["moments"][3:]


def test_only_who_may_sees_what_changes_something(stage: Stage, team: Team, client_for: Callable[..., Client]) -> None:
    for name, fork, export, bring_in in (
        ("vera", False, False, False),
        ("bob", True, True, False),
        ("alice", *[True] * 3),
    ):
        client = client_for(user_of(name, "acme"), team)
        page = client.get(f"{BASE}?at=12").text
        assert ("Fork from here" in page, "/export/" in page) == (fork, export), name
        assert ("Import a swarm" in client.get("/archives/").text) is bring_in
        # Nothing can go on from an archive: there is no repository.
        archive = client.get(f"/archives/{stage.archive.pk}/?at=12").text
        assert "Fork from here" not in archive
        assert ("Delete this archive" in archive) is bring_in


@pytest.fixture
def long(stage: Stage) -> Swarm:
    """A swarm with more events than one checkpoint."""
    facts = {"session": "s", "model": "m", "rehearsal": False, "status": 200, "cost_microusd": 1}
    call = ("model.called", facts | {"input_tokens": 1, "output_tokens": 0})
    publish_all(stage.swarm.topic, [call] * (3 * EVERY))
    return stage.swarm


def test_a_move_of_the_slider_reads_few_events_once_scenes_are_kept(long: Swarm) -> None:
    story, kept = stories.of_swarm(long), Checkpoints()
    last = story.last()
    whole = scene_at(story, last, kept)
    assert whole == fold(story.told(0, last))
    for at in (last, last - 1, 2 * EVERY, 2 * EVERY + 1, EVERY - 1, EVERY + 17, 1):
        with CaptureQueriesContext(connection) as asked:
            found = scene_at(story, at, kept)
        assert found == fold(story.told(0, at))
        assert sum("agent_sessions_event" in query["sql"] for query in asked.captured_queries) <= 2


def test_the_last_lines_are_found_however_far_back_they_are(long: Swarm) -> None:
    story = stories.of_swarm(long)
    told = [event for event in story.told(0, story.last()) if event.kind in words.KINDS]
    for at in (story.last(), story.last() - 1, 2 * EVERY, 40, 3, 1):
        wanted = [event.seq for event in reversed(told) if event.seq <= at]
        for count in (1, 5, 1000):
            assert [event.seq for event in story.before(at, count, words.KINDS)] == wanted[:count]


def test_what_is_kept_is_bounded_and_apart_for_every_team(long: Swarm) -> None:
    story, kept = stories.of_swarm(long), Checkpoints(room=60)
    scene_at(story, story.last(), kept)
    assert 0 < len(kept._kept) < 3
    assert kept.nearest("t_other", story.key, story.last()) == Scene()
    assert kept.nearest("t_other", "swarm:other", story.last()) == Scene()


def test_late_events_are_part_of_the_story_at_once(stage: Stage, alice: Client) -> None:
    last = alice.get(f"{BASE}times/").json()["last"]
    publish(stage.swarm.topic, "decision.made", by="engine", what="go on", why="it is late")
    assert alice.get(f"{BASE}times/?after={last}").json()["last"] == last + 1
    assert "it is late" in alice.get(f"{BASE}now/?at={last + 1}").text
    assert "it is late" not in alice.get(f"{BASE}now/?at={last}").text


def test_the_version_in_files_is_that_of_the_project() -> None:
    text = (PROJECT_ROOT / "pyproject.toml").read_text()
    found: Any = re.search(r'(?m)^version = "([^"]+)"$', text)
    assert found[1] == settings.VERSION
