"""kill -9 of OpenCode's server, of the runner, and of both, in every phase of an attempt, on the real program.

Each time the attempt goes on in the same session, or is lost with its work on its branch and done by the next one; the
swarm lands, and nothing is wrong. A few cases in every run; all of them with `WAGGLE_TEST_LONG=1`, see
docs/opencode.md.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.death_phases import WHOLE
from tests.death_stage import Cell, Theatre
from tests.fake_control_plane import serving
from tests.long import IS_WANTED
from tests.test_opencode_runtime import program  # noqa: F401

SAMPLE = [("created", "server"), ("tool", "runner")]
CASES = WHOLE if IS_WANTED else SAMPLE

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def theatre(tmp_path_factory: pytest.TempPathFactory, program: Path) -> Iterator[Theatre]:  # noqa: F811
    """Shared by all cases: each leaves it healthy."""
    folder = tmp_path_factory.mktemp("deaths")
    with serving(folder / "model") as plane:
        found = Theatre(folder / "platform", program, plane)
        try:
            found.open()
            yield found
        finally:
            left = found.close()
            assert not left, f"processes were left behind: {left}"


@pytest.mark.parametrize(("phase", "victims"), CASES, ids=["-".join(case) for case in CASES])
def test_an_attempt_goes_on_or_is_lost_with_its_work_kept_and_the_swarm_lands(
    theatre: Theatre, phase: str, victims: str
) -> None:
    theatre.heal()
    how, faults = theatre.act(Cell(phase, victims))
    print(f"{phase:12} {victims:8} {how}")
    assert faults == []
