"""Crash points: each has its place in the code, and a process dies there only if it was told so."""

import ast
import os
import subprocess
import sys
from collections import Counter

import pytest

from config.env import PROJECT_ROOT
from tenants.faults import EXIT_CODE, POINTS, UnknownPoint, read
from tests.test_docs import sources

PASSES = """
from tenants.faults import crash_point
for _ in range(3):
    crash_point("merge.made")
    print("passed", flush=True)
    crash_point("merge.recorded")
"""


def test_every_crash_point_has_one_place_in_the_code() -> None:
    found: Counter[str] = Counter()
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "crash_point":
                assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno}"
                found[node.args[0].value] += 1
    assert found == dict.fromkeys(POINTS, 1)


@pytest.mark.parametrize(
    ("text", "target"), [("", ("", 1)), ("merge.made", ("merge.made", 1)), (" merge.made:12 ", ("merge.made", 12))]
)
def test_a_point_is_named_with_its_passing(text: str, target: tuple[str, int]) -> None:
    assert read(text) == target


@pytest.mark.parametrize("text", ["merge", "merge.made:0", "merge.made:two", "merge.made:-1"])
def test_a_wrong_name_or_number_is_refused_with_what_is_right(text: str) -> None:
    with pytest.raises(UnknownPoint, match=r"^WAGGLE_CRASH_AT .*merge\.made") as refusal:
        read(text)
    assert text in str(refusal.value)


def run(crash_at: str, *command: str) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ) | {"WAGGLE_CRASH_AT": crash_at}
    return subprocess.run([sys.executable, *command], cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("crash_at", "code", "passed"),
    [("", 0, 3), ("merge.made", EXIT_CODE, 0), ("merge.made:3", EXIT_CODE, 2), ("merge.recorded:2", EXIT_CODE, 2)],
)
def test_a_process_dies_at_its_point_and_not_before(crash_at: str, code: int, passed: int) -> None:
    done = run(crash_at, "-c", PASSES)
    assert (done.returncode, done.stdout.count("passed")) == (code, passed), done.stderr


@pytest.mark.parametrize("command", [("manage.py", "check"), ("-m", "agents.runner")], ids=["control plane", "runner"])
def test_a_process_that_is_told_of_a_point_that_is_not_there_does_not_begin(command: tuple[str, ...]) -> None:
    done = run("merge.unmade", *command)
    assert done.returncode == 1
    assert "WAGGLE_CRASH_AT names 'merge.unmade', which is no crash point" in done.stderr
    assert "Traceback" not in done.stderr
