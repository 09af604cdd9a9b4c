"""A process dies at every place where a death could lose, double or strand something, and others take over.

Real processes on real databases and git, one after the other, over some journeys (tests.crash_journeys). Only the
language model is scripted, behind its HTTP interface.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import product

import httpx
import pytest

from config.env import PROJECT_ROOT
from tenants.faults import EXIT_CODE, POINTS
from tests.crash_journeys import JOURNEYS
from tests.crash_model import CANARIES
from tests.crash_processes import wait_for
from tests.crash_stage import Platform

pytestmark = pytest.mark.timeout(300)
MET = [(name, point) for name, (_, points) in JOURNEYS.items() for point in points]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Shared by all journeys: each leaves it healthy."""
    found = Platform(tmp_path_factory.mktemp("crash"))
    try:
        found.open()
        yield found
    finally:
        left = found.close()
        assert not left, f"processes were left behind: {left}"


@pytest.fixture(scope="module")
def faults(platform: Platform) -> Callable[[str], list[str]]:
    """What is wrong at the end of a journey; each is made once."""

    @cache
    def made(name: str) -> list[str] | Exception:
        platform.heal()
        try:
            return JOURNEYS[name][0](platform)
        except Exception as broken:
            return broken  # for each of its points

    def of(name: str) -> list[str]:
        if isinstance(found := made(name), Exception):
            raise found
        return found

    return of


def test_every_crash_point_is_met_on_one_journey() -> None:
    assert sorted(point for _, point in MET) == sorted(POINTS)


@pytest.mark.parametrize(("name", "point"), MET, ids=[point for _, point in MET])
def test_who_takes_over_from_a_process_that_died_brings_all_to_its_right_end(
    platform: Platform, faults: Callable[[str], list[str]], name: str, point: str
) -> None:
    at_the_end = faults(name)
    death = platform.deaths[point]
    if death.is_child:
        assert f"(exit code {EXIT_CODE})" in death.process.text
    else:
        assert death.process.code() == EXIT_CODE
    assert death.violations == []
    assert at_the_end == []


def test_what_a_team_says_is_in_its_own_rows_and_streams_alone_and_in_no_log(platform: Platform) -> None:
    """Three teams at work on one web process, worker, ticker and runner, each with a word in all that it says."""
    platform.heal()
    words = list(CANARIES.values())
    schemas = {slug: platform.ask("team", schema="", slug=slug, runner=False)["schema"] for slug in CANARIES}
    said = {}
    for slug, word in CANARIES.items():
        project = platform.add_project(slug, schema=schemas[slug])
        said[slug] = platform.ask("state_goal_about", schema=schemas[slug], project=project, word=word)
    for slug, (swarm, _) in said.items():
        wait_for(partial(_has_landed, platform, schemas[slug], swarm), platform.looks)
    for (slug, word), asker in product(CANARIES.items(), CANARIES):
        answers = [
            _asked(platform, f"/t/{slug}/api/v1/swarms/{said[slug][0]}/{what}", said[asker][1], body)
            for what, body in (("replay", None), ("fork", {"at": 40, "plan": f"{word}: [", "goal": word}), ("none", {}))
        ]
        assert [status for status, _ in answers] == ([200, 422, 404] if asker == slug else [404] * 3), answers
        assert (word in answers[0][1]) is (asker == slug)
    for slug, word in CANARIES.items():
        found = {
            place for place, said in platform.ask("where_words_are", schema=schemas[slug], words=words) if said == word
        }
        assert {"agent_sessions_event", "agent_sessions_part", "swarms_node", "swarms_checkrun"} <= found
        assert f"ev:{schemas[slug]}" in found
    for schema in ("public", *schemas.values()):
        for place, word in platform.ask("where_words_are", schema=schema, words=words):
            owner = next(schemas[slug] for slug, own in CANARIES.items() if own == word)
            assert owner in (schema, place.rpartition(":")[2]) or owner in place, (schema, place, word)
    logs = [path for folder in (platform.folder / "log", platform.data) for path in folder.rglob("*log*")]
    logs += list((platform.folder / "log").iterdir())
    for path in logs:
        text = path.read_text(errors="replace") if path.is_file() else ""
        assert not [line for line in text.splitlines() if any(word in line for word in words)], path


def _has_landed(platform: Platform, schema: str, swarm: str) -> bool:
    return platform.ask("state", schema=schema, swarm=swarm) == "succeeded"


def _asked(platform: Platform, path: str, token: str, body: object) -> tuple[int, str]:
    """What the web process answers a member's program."""
    url, headers = f"http://127.0.0.1:{platform.port}{path}", {"authorization": f"Bearer {token}"}
    answer = httpx.request("POST" if body is not None else "GET", url, json=body, headers=headers, trust_env=False)
    return answer.status_code, answer.text


def test_nothing_is_wrong_after_all_journeys(platform: Platform) -> None:
    command = [sys.executable, "manage.py", "verify", "--replay", "--git", "--json"]
    done = subprocess.run(command, cwd=PROJECT_ROOT, env=platform.environment, capture_output=True, text=True)
    told = json.loads(done.stdout)
    assert (sum(told["counts"].values()), told["violations"], done.returncode) == (0, [], 0)
