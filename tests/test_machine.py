"""Any history of a swarm leaves every invariant whole, and comes to an end."""

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from swarms import dispatch, reconcile
from tenants.models import Team
from tests.machine import SwarmMachine

EXAMPLES = int(os.environ.get("WAGGLE_MACHINE_EXAMPLES", "15"))
"""More of them, and other ones each time, for a long run: WAGGLE_MACHINE_EXAMPLES=500."""

# A smaller history is found by hand sooner than by trying thousands; WAGGLE_MACHINE_SHRINK=1 tries them.
PHASES = [
    Phase.explicit,
    Phase.reuse,
    Phase.generate,
    *([Phase.shrink] if os.environ.get("WAGGLE_MACHINE_SHRINK") else []),
]


@pytest.mark.timeout(3600)
def test_any_history_keeps_every_invariant_and_ends(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(event: str, **words: Any) -> None:
        raise AssertionError(f"{event}: {words}")

    # What the clock survives in production is a fault here.
    monkeypatch.setattr(reconcile.logger, "exception", fail)
    monkeypatch.setattr(dispatch.logger, "error", fail)
    SwarmMachine.team = team
    run_state_machine_as_test(
        SwarmMachine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=30,
            deadline=None,
            derandomize="WAGGLE_MACHINE_EXAMPLES" not in os.environ,
            suppress_health_check=list(HealthCheck),
            phases=PHASES,
        ),
    )
