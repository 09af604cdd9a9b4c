"""A process dies at every place where a death could lose, double or strand something, and others take over.

Real processes on real databases and git, one after the other, over some journeys (tests.crash_journeys). Only the
language model is scripted, behind its HTTP interface.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache

import pytest

from config.env import PROJECT_ROOT
from tenants.faults import EXIT_CODE, POINTS
from tests.crash_journeys import JOURNEYS
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


def test_nothing_is_wrong_after_all_journeys(platform: Platform) -> None:
    command = [sys.executable, "manage.py", "verify", "--replay", "--git", "--json"]
    done = subprocess.run(command, cwd=PROJECT_ROOT, env=platform.environment, capture_output=True, text=True)
    told = json.loads(done.stdout)
    assert (sum(told["counts"].values()), told["violations"], done.returncode) == (0, [], 0)
