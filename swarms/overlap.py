"""Do two globs touch? Is a path inside a glob? Pure.

A glob is relative to the repository's root: `*` and `?` match inside one segment, `**` any number of segments; a glob
that ends in `/` means everything below.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache


def segments(glob: str) -> tuple[str, ...]:
    """A glob cut at its slashes."""
    if glob.endswith("/"):
        glob += "**"
    return tuple(part for part in glob.split("/") if part not in ("", "."))


@lru_cache(maxsize=100_000)
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


@lru_cache(maxsize=100_000)
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


def _fits(pattern: Sequence[str], given: Sequence[str], star: str, same: Callable[[str, str], bool]) -> bool:
    """Whether a pattern, whose stars stand for any number of items, matches what is given.

    Only the last star is tried again: the time is at most the product of the lengths, whoever wrote the pattern.
    """
    place = at = kept = 0
    last: int | None = None
    while at < len(given):
        if place < len(pattern) and pattern[place] == star:
            last, kept = place, at
            place += 1
        elif place < len(pattern) and same(pattern[place], given[at]):
            place, at = place + 1, at + 1
        elif last is not None:
            kept += 1
            place, at = last + 1, kept
        else:
            return False
    return all(rest == star for rest in pattern[place:])


def _letter_fits(pattern: str, letter: str) -> bool:
    return pattern in ("?", letter)


def name_fits(pattern: str, name: str) -> bool:
    """Whether a text matches a pattern in which `*` is any number of letters, and `?` one."""
    return _fits(pattern, name, "*", _letter_fits)


def outside(paths: Iterable[str], globs: Iterable[str]) -> list[str]:
    """The paths that no glob matches."""
    patterns = [segments(glob) for glob in globs]
    return [path for path in paths if not any(_fits(pattern, path.split("/"), "**", name_fits) for pattern in patterns)]
