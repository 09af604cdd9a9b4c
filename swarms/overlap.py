"""Do two globs touch? Is a path inside a glob? Pure.

A glob is relative to the repository's root: `*` and `?` match inside one segment, `**` any number of segments; a glob
that ends in `/` means everything below.
"""

from collections.abc import Iterable
from functools import cache


def segments(glob: str) -> tuple[str, ...]:
    """A glob cut at its slashes."""
    if glob.endswith("/"):
        glob += "**"
    return tuple(part for part in glob.split("/") if part not in ("", "."))


@cache
def _words_touch(a: str, b: str) -> bool:
    """Whether some name matches both segment patterns."""
    if not a and not b:
        return True
    if a[:1] == "*":
        return _words_touch(a[1:], b) or (bool(b) and _words_touch(a, b[1:]))
    if b[:1] == "*":
        return _words_touch(b, a)
    if not a or not b:
        return False
    return (a[0] == b[0] or "?" in (a[0], b[0])) and _words_touch(a[1:], b[1:])


@cache
def _touch(a: tuple[str, ...], b: tuple[str, ...]) -> bool:
    if not a and not b:
        return True
    if a[:1] == ("**",):
        return _touch(a[1:], b) or (bool(b) and _touch(a, b[1:]))
    if b[:1] == ("**",):
        return _touch(b, a)
    if not a or not b:
        return False
    return _words_touch(a[0], b[0]) and _touch(a[1:], b[1:])


def overlap(a: str, b: str) -> bool:
    """Whether some path matches both globs."""
    return _touch(segments(a), segments(b))


def shared(a: Iterable[str], b: Iterable[str]) -> list[str]:
    """The globs of `a` that touch one of `b`."""
    others = list(b)
    return [glob for glob in a if any(overlap(glob, other) for other in others)]


def _word_matches(pattern: str, name: str) -> bool:
    if not pattern:
        return not name
    if pattern[0] == "*":
        return _word_matches(pattern[1:], name) or (bool(name) and _word_matches(pattern, name[1:]))
    return bool(name) and pattern[0] in ("?", name[0]) and _word_matches(pattern[1:], name[1:])


def _matches(pattern: tuple[str, ...], path: tuple[str, ...]) -> bool:
    if not pattern:
        return not path
    if pattern[0] == "**":
        return _matches(pattern[1:], path) or (bool(path) and _matches(pattern, path[1:]))
    return bool(path) and _word_matches(pattern[0], path[0]) and _matches(pattern[1:], path[1:])


def outside(paths: Iterable[str], globs: Iterable[str]) -> list[str]:
    """The paths that no glob matches."""
    patterns = [segments(glob) for glob in globs]
    return [path for path in paths if not any(_matches(pattern, tuple(path.split("/"))) for pattern in patterns)]
