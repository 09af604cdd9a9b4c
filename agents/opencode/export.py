"""A file of `opencode export`: one session with its messages and parts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agents.opencode.found import Found, Lost, SourceFault, created, read

_SAY = "opencode export <session> > session.json"


class Export:
    """One exported session, held in memory."""

    def __init__(self, path: Path) -> None:
        """Raises SourceFault."""
        try:
            found = read(path.name, path.read_bytes())
        except OSError as error:
            raise SourceFault(f"{path} cannot be read: {error}. Read it as its owner.") from error
        if found.fault:
            raise SourceFault(f"{path} cannot be taken: {found.fault}. Export anew, without 2>&1: {_SAY}")
        info, messages = found.data.get("info"), found.data.get("messages")
        if not (isinstance(info, dict) and isinstance(info.get("id"), str) and isinstance(messages, list)):
            raise SourceFault(f"{path} is JSON, but no export: no info with an id, or no messages. Export anew: {_SAY}")
        self._path, self._info = path, info
        self._messages: list[Found] = []
        self._parts: dict[str, list[Found]] = {}
        for place, given in enumerate(messages):
            self._add(f"{info['id']}/message {place}", given)
        self._messages.sort(key=lambda message: (created(message.data), message.id))

    @property
    def name(self) -> str:
        return f"export {self._path}"

    def sessions(self) -> Iterator[Found]:
        yield Found(self._info["id"], self._info)

    def messages(self, session: str) -> Iterator[Found]:
        return iter(self._messages)

    def parts(self, session: str, message: str) -> Iterator[Found]:
        return iter(sorted(self._parts.get(message, ()), key=lambda part: part.id))

    def lost(self) -> Iterator[Lost]:
        return iter(())

    def not_taken(self) -> dict[str, int]:
        return {}

    def finish(self) -> None:
        """It was read at once."""

    def _add(self, name: str, given: Any) -> None:
        message = _named(name, given.get("info") if isinstance(given, dict) else None)
        self._messages.append(message)
        parts = given.get("parts") if isinstance(given, dict) else None
        for place, part in enumerate(parts if isinstance(parts, list) else ()):
            self._parts.setdefault(message.id, []).append(_named(f"{message.id}/part {place}", part))


def _named(name: str, given: Any) -> Found:
    """A record by its own id; `name` tells of it when it has none."""
    if not isinstance(given, dict):
        return Found(name, fault="not an object of JSON")
    key = given.get("id")
    return Found(key, given) if isinstance(key, str) and key else Found(name, fault="it has no id")
