"""Any history of a swarm leaves every invariant whole, and comes to an end."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis.errors import Flaky
from hypothesis.stateful import run_state_machine_as_test

from swarms import dispatch, hints, reasons, reconcile
from tenants.models import Team
from tests.conftest import user_of
from tests.machine import SwarmMachine
from tests.machine_stage import make_project

EXAMPLES = int(os.environ.get("WAGGLE_MACHINE_EXAMPLES", "6"))
"""More of them, and other ones each time, for a long run: WAGGLE_MACHINE_EXAMPLES=200."""
STEPS = int(os.environ.get("WAGGLE_MACHINE_STEPS", "25"))

# A smaller history is found by hand sooner than by trying thousands; WAGGLE_MACHINE_SHRINK=1 tries them.
PHASES = [
    Phase.explicit,
    Phase.reuse,
    Phase.generate,
    *([Phase.shrink] if os.environ.get("WAGGLE_MACHINE_SHRINK") else []),
]


@pytest.mark.timeout(14_400)
def test_any_history_keeps_every_invariant_and_ends(
    team: Team, request: pytest.FixtureRequest, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(event: str, **words: Any) -> None:
        raise AssertionError(f"{event}: {words}")

    # What the clock survives in production is a fault here.
    monkeypatch.setattr(reconcile.logger, "exception", fail)
    monkeypatch.setattr(dispatch.logger, "error", fail)
    # Longer than a step takes: what is due is decided by the rule of time, not by how fast the machine is.
    monkeypatch.setattr(reasons, "FIRST_DELAY", timedelta(minutes=1))
    monkeypatch.setattr(hints, "LOST_HINT", timedelta(minutes=1))
    settings.DATA_DIR, settings.LOCAL_SOURCES = tmp_path / "data", True
    SwarmMachine.team, SwarmMachine.project = team, make_project(tmp_path, user_of("alice", "acme"))
    request.addfinalizer(lambda: print("histories ended:", dict(SwarmMachine.ends)))
    wanted = hypothesis_settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        derandomize="WAGGLE_MACHINE_EXAMPLES" not in os.environ,
        suppress_health_check=list(HealthCheck),
        phases=PHASES,
    )
    try:
        run_state_machine_as_test(SwarmMachine, settings=wanted)
    except Flaky as flaky:
        raise (SwarmMachine.faults or [flaky])[0] from flaky
