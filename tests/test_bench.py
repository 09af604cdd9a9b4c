"""What `make bench` makes of its runs: figures, thresholds, the file of results and the tables drawn from it."""

import json
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from bench import engine, fleet, live, results, shapes, table
from bench.figures import Figure, Reach, quantile, ratio, tail, typical


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "results.json"
    monkeypatch.setattr(results, "FILE", path)
    return path


@pytest.mark.parametrize(
    ("values", "share", "found"),
    [([3, 1, 2], 0.5, 2), (range(1, 21), 0.95, 19), (range(1, 101), 0.95, 95), ([7], 0.95, 7), ([1, 2], 0.5, 1)],
)
def test_a_quantile_is_the_least_value_that_so_many_do_not_exceed(values: list[int], share: float, found: int) -> None:
    assert quantile(values, share) == found


def test_a_figure_is_a_median_and_tells_least_most_and_number_of_runs() -> None:
    assert typical([5, 1, 2], "ms") == Figure(2, "ms", 1, 5, 3)


def test_a_quantile_over_runs_is_of_all_samples_and_its_bounds_are_of_single_runs() -> None:
    assert tail([[1, 1, 9], [2, 2, 2]], "ms", 0.5) == Figure(2, "ms", 1, 2, 2)


def test_a_ratio_is_of_pairs() -> None:
    # Each run took twice its floor; the quotient of the medians is 2 as well, that of unpaired extremes is not.
    assert ratio([2, 20, 4], [1, 10, 2], "x") == Figure(2, "x", 2, 2, 3)


@pytest.mark.parametrize(
    ("reach", "value", "verdict"),
    [
        (Reach("<=", 4, aim=2), 2, "reached"),
        (Reach("<=", 4, aim=2), 2.01, "reached at least"),
        (Reach("<=", 4, aim=2), 4, "reached at least"),
        (Reach("<=", 4, aim=2), 4.01, "missed"),
        (Reach("<", 20), 20, "missed"),
        (Reach("<", 20), 19.9, "reached"),
        (Reach(">=", 200), 200, "reached"),
        (Reach(">=", 200), 199, "missed"),
    ],
)
def test_two_thresholds_tell_what_is_aimed_at_from_what_must_be(reach: Reach, value: float, verdict: str) -> None:
    assert reach.verdict(value) == verdict


def kept(name: str, case: str, value: float, command: str) -> dict[str, dict[str, object]]:
    of: dict[str, object] = {"case": case, "command": command, "commit": "abc", "at": "2026-01-01T00:00:00+00:00"}
    of |= {"machine": MACHINE, "noise": {"load_before": 0.1, "fsync_ms": 0.2, "others": 0.03, "stolen": 0}}
    return results.told({name: Figure(value, "ms", value, value, 3)}, engine.REACH, of=of)


MACHINE = {
    "cores": 2,
    "processor": "one",
    "memory_gb": 24,
    "system": "Linux 6",
    "python": "3.11",
    "postgres": "18",
    "valkey": "9",
}


def test_figures_of_several_runs_keep_what_each_was_measured_on(file: Path) -> None:
    results.keep(kept("engine.guard_us", "engine.guard", 3, "make bench"), MACHINE)
    results.keep(kept("engine.validate5000_ms", "engine.plans", 300, 'make bench ARGS="plans"'), MACHINE)
    found = json.loads(file.read_text())["figures"]
    assert found["engine.guard_us"]["command"] == "make bench"
    assert found["engine.guard_us"] | {"command": ""} == found["engine.guard_us"] | {
        "command": "",
        "value": 3,
        "min": 3,
        "max": 3,
        "runs": 3,
        "unit": "ms",
        "reach": "<= 20",
        "verdict": "reached",
    }
    assert found["engine.validate5000_ms"]["verdict"] == "missed"


def test_a_case_that_is_measured_anew_leaves_no_figure_of_before(file: Path) -> None:
    results.keep(kept("engine.old", "engine.guard", 3, "make bench"), MACHINE)
    results.keep(kept("engine.validate5000_ms", "engine.plans", 3, "make bench"), MACHINE)
    results.forget("engine.guard")
    assert json.loads(file.read_text())["figures"].keys() == {"engine.validate5000_ms"}


def test_the_tables_say_what_was_missed_and_where_it_was_measured(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = tmp_path / "performance.md"
    document.write_text(
        "head\n<!-- figures -->\n\n**plans**. Old ones\n\nrows\n\n**guard**. Not again\n\nrows\n\n"
        "<!-- end of figures -->\n<!-- live -->\n**wide**. kept\n\n<!-- end of live -->\n"
        "<!-- fleet -->\n<!-- end of fleet -->\n<!-- peers -->\n<!-- end of peers -->\nfoot\n"
    )
    monkeypatch.setattr(table, "DOCUMENT", document)
    results.keep(kept("engine.validate5000_ms", "engine.plans", 300, "make bench"), MACHINE)
    results.keep(kept("engine.chain100.dramatiq_ratio", "engine.dags", 0.412, "make bench"), MACHINE)
    table.write()
    text = document.read_text()
    assert "| `engine.validate5000_ms` | 300 ms | 300 to 300, 3 | < 200 | **missed** |" in text
    assert "commit abc, `make bench`; 2 cores (one)" in text
    assert "| **Waggle**, everything on | every step, fsync | 0.412 | – |" in text
    assert "Old ones" not in text
    assert (
        text.index("**plans**. 2026")
        < text.index("**guard**. Not again\n\nrows\n\n**dags**. 2026")
        < text.index("kept")
    )
    table.write()
    assert document.read_text() == text


def test_the_document_has_marks_for_the_tables() -> None:
    text = table.DOCUMENT.read_text()
    assert all(f"<!-- {part} -->\n" in text and f"<!-- end of {part} -->" in text for part in (*table.AREAS, "peers"))


@pytest.mark.parametrize("area", [engine, fleet, live])
def test_every_case_is_a_module_and_in_the_document(area: ModuleType) -> None:
    assert area.__file__ is not None
    folder = Path(area.__file__).parent
    modules = {path.stem for path in folder.glob("*.py") if "def measure(at: Stage)" in path.read_text()}
    assert set(area.CASES) == modules
    assert all(f"\n| {case} |" in table.DOCUMENT.read_text() for case in area.CASES)


@pytest.mark.parametrize("shape", [shapes.chain(), shapes.fan(), shapes.layered500(), shapes.layered(1_000)])
def test_edges_lead_forward(shape: tuple[int, shapes.Edges]) -> None:
    nodes, edges = shape
    assert all(0 <= parent < child < nodes for parent, child in edges)
    assert len(set(edges)) == len(edges)


def test_the_fixed_dag_is_500_nodes_20_wide() -> None:
    nodes, edges = shapes.layered500()
    parents = Counter(child for _, child in edges)
    assert (nodes, nodes - len(parents), len(edges), max(parents.values())) == (500, 20, 1127, 4)
    assert all(parent // 20 < child // 20 for parent, child in edges)
