"""Globs that touch, and paths inside globs, against an oracle that tries all paths of a small world."""

from fnmatch import fnmatchcase
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarms.overlap import outside, overlap, shared


@pytest.mark.parametrize(
    ("a", "b", "touch"),
    [
        ("a.py", "a.py", True),
        ("a.py", "b.py", False),
        ("src/**", "src/x/y.py", True),
        ("src/", "src/x/y.py", True),
        ("src/*.py", "src/x/y.py", False),
        ("**/*.py", "docs/a.py", True),
        ("**", "anything/at/all", True),
        ("*/a", "b/*", True),
        ("a*c", "ab*", True),
        ("a?c", "abd", False),
        ("./a.py", "a.py", True),
        ("src", "src/x", False),
    ],
)
def test_globs_touch(a: str, b: str, touch: bool) -> None:
    assert overlap(a, b) is overlap(b, a) is touch


words = st.sampled_from(["a", "b", "*", "?", "a*", "**", "ab", "*b"])
globs = st.lists(words, min_size=1, max_size=3).map("/".join)
names = ["a", "b", "ab", "aa", "ba"]
world = ["/".join(parts) for size in (1, 2, 3) for parts in product(names, repeat=size)]


def matches(pattern: list[str], path: list[str]) -> bool:
    """The meaning, written as plainly as possible."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        return any(matches(pattern[1:], path[cut:]) for cut in range(len(path) + 1))
    return bool(path) and fnmatchcase(path[0], pattern[0]) and matches(pattern[1:], path[1:])


@given(globs, globs)
def test_globs_touch_when_some_path_matches_both(a: str, b: str) -> None:
    if any(matches(a.split("/"), p.split("/")) and matches(b.split("/"), p.split("/")) for p in world):
        assert overlap(a, b)


@given(globs, st.sampled_from(world))
def test_a_path_is_outside_exactly_when_nothing_matches(glob: str, path: str) -> None:
    assert (outside([path], [glob]) == []) is matches(glob.split("/"), path.split("/"))


@given(globs, st.sampled_from(world))
def test_a_plain_path_touches_a_glob_exactly_when_it_is_inside(glob: str, path: str) -> None:
    assert overlap(path, glob) is matches(glob.split("/"), path.split("/"))


def test_shared_names_the_globs_of_the_first() -> None:
    assert shared(["a/**", "b.py"], ["a/x.py", "c.py"]) == ["a/**"]
