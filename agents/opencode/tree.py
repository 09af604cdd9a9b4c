"""The older layout (up to 1.1): a tree of JSON files, `storage/`."""

from collections.abc import Iterator
from pathlib import Path

from agents.opencode.found import Data, Found, Lost, created, read

COUNTED = ("todo", "session_diff")
"""Folders that hold something of sessions and are only counted."""


class Tree:
    """session/<project>/<session>.json, message/<session>/<message>.json, part/<message>/<part>.json.

    Names of files are the ids: OpenCode's own migration takes them from there, too.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def name(self) -> str:
        return f"JSON files in {self._root}"

    def sessions(self) -> Iterator[Found]:
        worktrees: dict[str, object] = {}
        for file in sorted(self._root.glob("session/*/*.json")):
            project = file.parent.name
            if project not in worktrees:
                worktrees[project] = _file(self._root / "project" / f"{project}.json").data.get("worktree")
            found = _file(file)
            yield found if found.fault else Found(found.id, found.data | {"worktree": worktrees[project]})

    def messages(self, session: str) -> Iterator[Found]:
        found = [_slim(_file(file)) for file in _files(self._root / "message" / session)]
        # Ids hold a clock that begins anew every two years: time goes before id.
        return iter(sorted(found, key=lambda message: (created(message.data), message.id)))

    def parts(self, session: str, message: str) -> Iterator[Found]:
        return (_file(file) for file in _files(self._root / "part" / message))

    def lost(self) -> Iterator[Lost]:
        sessions = {file.stem for file in self._root.glob("session/*/*.json")}
        messages: set[str] = set()
        for folder in _folders(self._root / "message"):
            for file in _files(folder):
                messages.add(file.stem)
                if folder.name not in sessions:
                    yield Lost(file.stem, f"its session {folder.name} is not there", folder.name)
        for folder in _folders(self._root / "part"):
            if folder.name not in messages:
                for file in _files(folder):
                    yield Lost(file.stem, f"its message {folder.name} is not there", _session_of(file))

    def not_taken(self) -> dict[str, int]:
        counts = {name: sum(1 for _ in self._root.glob(f"{name}/*.json")) for name in COUNTED}
        return {name: count for name, count in counts.items() if count}

    def finish(self) -> None:
        """Each file is read at once; one that is half written is reported, and taken by the next import."""


def _file(path: Path) -> Found:
    try:
        return read(path.stem, path.read_bytes())
    except OSError as error:
        return Found(path.stem, fault=f"cannot be read: {error}")


def _slim(found: Found) -> Found:
    # Messages of a whole session are held to be sorted; their summaries repeat whole files.
    data: Data = {name: value for name, value in found.data.items() if name != "summary"}
    return Found(found.id, data, found.fault)


def _session_of(part: Path) -> str:
    return str(_file(part).data.get("sessionID", ""))


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.json"))


def _folders(folder: Path) -> list[Path]:
    return sorted(each for each in folder.iterdir() if each.is_dir()) if folder.is_dir() else []
