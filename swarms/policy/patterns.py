"""Does an argument of a call match a pattern? Globs only: their time is bounded, whoever wrote them. Pure."""

import json
import posixpath
import shlex
from typing import Any

from swarms.overlap import name_fits, outside
from swarms.policy.shell import is_plain, may_run

_COMMANDS = frozenset({"command", "cmd"})
_PATHS = ("path", "paths", "file", "files", "folder", "directory", "cwd")


def is_command(name: str) -> bool:
    """Whether an argument of this name is a shell command."""
    return name.lower() in _COMMANDS


def is_path(name: str) -> bool:
    """Whether an argument of this name is a path, or several."""
    return name.lower().endswith(_PATHS)


def normal(path: str) -> str | None:
    """A path without detours: relative to the workspace, or absolute, or beginning with `..`; None: it is none."""
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in path) or path.startswith("~"):
        return None
    found = posixpath.normpath(path) if path else None
    return f"/{found.lstrip('/')}" if found and found.startswith("/") else found


def is_inside(path: str) -> bool:
    """Whether a path, by its looks, stays in the workspace. Links are for whoever opens it to see."""
    found = normal(path)
    return found is not None and not found.startswith("/") and found.split("/")[0] != ".."


def surely(name: str, value: Any, pattern: str) -> bool:
    """Whether an argument matches beyond doubt, in all of its values: what a permission asks."""
    texts = _texts(value)
    return bool(texts) and all(_surely(name, text, pattern) for text in texts)


def perhaps(name: str, value: Any, pattern: str) -> bool:
    """Whether an argument may match, in one of its values: what a prohibition asks."""
    texts = _texts(value)
    if is_command(name) and len(texts) > 1:
        texts.append(shlex.join(texts))  # its words, or several commands
    return any(_perhaps(name, text, pattern) for text in texts)


def _texts(value: Any) -> list[str]:
    if isinstance(value, list | tuple):
        return [text for each in value for text in _texts(each)]
    if value is None:
        return []
    return [value if isinstance(value, str) else json.dumps(value, sort_keys=True)]


def _surely(name: str, text: str, pattern: str) -> bool:
    if is_command(name):
        given = text.strip(" ")
        return given == pattern or (is_plain(given) and name_fits(pattern, given))
    if is_path(name):
        path = normal(text)
        return path is not None and (is_inside(path) or pattern.startswith("/")) and _path_fits(path, pattern)
    # Whatever it is called, it may be a path all the same.
    return name_fits(pattern, text) and ("/" not in pattern or ".." not in text.split("/"))


def _perhaps(name: str, text: str, pattern: str) -> bool:
    if is_command(name):
        return may_run(text, pattern)
    if is_path(name):
        path = normal(text)
        # Some file systems do not tell large letters from small ones.
        return path is None or _path_fits(path.lower(), pattern.lower())
    return name_fits(pattern.lower(), text.lower())


def _path_fits(path: str, pattern: str) -> bool:
    if pattern.startswith("/") != path.startswith("/"):
        return False
    # The workspace itself is inside `**`, too.
    return not outside([path.strip("/")], [pattern]) or (path == "." and pattern in ("**", "**/*", "."))
