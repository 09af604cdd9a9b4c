"""`make chaos`, a few times of everything: what must be true whatever is killed, stopped, cut off or raced.

How fast it recovers is judged by `make chaos` alone.
"""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from config.env import PROJECT_ROOT

SECONDS = 900
pytestmark = pytest.mark.timeout(SECONDS + 60)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a short run says, in the words of bench/chaos.json."""
    out = tmp_path_factory.mktemp("chaos") / "chaos.json"
    dropped = ("DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE")
    done = subprocess.run(
        [sys.executable, "-m", "bench.chaos", "--short", "--out", str(out)],
        cwd=PROJECT_ROOT,
        env={name: value for name, value in os.environ.items() if name not in dropped},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    assert out.exists(), done.stdout
    print(done.stdout)  # shown when a test fails
    found: dict[str, Any] = json.loads(out.read_text())
    assert done.returncode == (1 if _missed(found) else 0), done.stdout
    return found


def _missed(told: dict[str, Any]) -> dict[str, Any]:
    return {name: figure for name, figure in told["figures"].items() if figure["verdict"] == "missed"}


def test_nothing_is_lost_doubled_accepted_too_late_or_decided_twice(told: dict[str, Any]) -> None:
    assert _missed(told) == {}


def test_every_act_was_judged(told: dict[str, Any]) -> None:
    """A figure that is not there cannot be missed."""
    judged = " ".join(told["figures"])
    for words in (
        "nodes lost",
        "two effects",
        "violations of invariants",
        "came to no end",
        "met claimed nodes",
        "offered by workers: accepted",
        "offered by runners: accepted",
        "failed, over HTTP",
        "acknowledged writes that are missing",
        "not one decision",
        "reservations",
        "light team",
        "left behind",
    ):
        assert words in judged


@pytest.mark.parametrize("what", ["worker", "clock", "runner", "web"])
@pytest.mark.parametrize("how", ["kill -9", "SIGSTOP"])
def test_each_kind_of_process_was_hit_at_work(how: str, what: str, told: dict[str, Any]) -> None:
    met = [did["met_work"] for name, did in told["injected"].items() if name.startswith(how) and what in name]
    assert sum(met) >= 1, told["injected"]


def test_each_way_was_cut_and_in_each_manner(told: dict[str, Any]) -> None:
    cuts = " ".join(name for name in told["injected"] if name.startswith("network between"))
    for words in (
        "worker and Postgres",
        "workers and Valkey",
        "runners and web",
        "slow",
        "reset",
        "silent",
        "half open",
    ):
        assert words in cuts
