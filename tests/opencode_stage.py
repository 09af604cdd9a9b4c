"""A developer's OpenCode: the same sessions as a database, as a tree of JSON files, as exports."""

import copy
import json
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "opencode"
Export = dict[str, Any]
CANARY = "heliotrope"
"""Stands in every table that no import may read."""
BEGUN = 1_795_000_000_000


def sample(name: str = "export-1.1") -> Export:
    """A session that an OpenCode of that version wrote."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def session(key: str = "ses_a", *messages: dict[str, Any], **info: Any) -> Export:
    """A session of our own."""
    told = {
        "id": key,
        "projectID": "prj",
        "directory": "/srv/sample/proj/c",
        "title": f"About {key}",
        "version": "1.18.33",
        "time": {"created": BEGUN, "updated": BEGUN + 60_000},
    }
    return {"info": told | info, "messages": list(messages)}


def said(key: str, *parts: dict[str, Any], **info: Any) -> dict[str, Any]:
    """A message of the agent's, with parts that get ids in their order."""
    told = {
        "id": key,
        "role": "assistant",
        "time": {"created": BEGUN + 1000, "completed": BEGUN + 2000},
        "providerID": "example",
        "modelID": "large",
    }
    named = [{"id": f"{key}-prt_{place:06}"} | part for place, part in enumerate(parts)]
    return {"info": told | info, "parts": named}


def text(words: str = "Hello.", **part: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, "time": {"start": BEGUN + 1500, "end": BEGUN + 1700}} | part


def tool(status: str = "completed", **state: Any) -> dict[str, Any]:
    told = {"status": status, "input": {"filePath": "a.py"}, "time": {"start": BEGUN + 1100, "end": BEGUN + 1400}}
    return {"type": "tool", "tool": "read", "callID": "call_1", "state": told | state}


EVERY_TYPE: Sequence[dict[str, Any]] = (
    {"type": "step-start", "snapshot": "5ea"},
    {"type": "reasoning", "text": "I should look first.", "time": {"start": BEGUN + 1000, "end": BEGUN + 1050}},
    tool(output="x = 1\n", title="a.py"),
    tool("error", error="no such file"),
    tool("running", metadata={"output": "half"}),
    tool("pending", input={}, raw='{"file'),
    text("Done."),
    {"type": "file", "mime": "text/plain", "filename": "notes.txt", "url": "data:text/plain;base64,aGVsbG8gbm90ZXM="},
    {"type": "file", "mime": "image/png", "filename": "shot.png", "url": "data:image/png;base64,iVBORw0KGgo="},
    {"type": "file", "mime": "text/plain", "filename": "b.py", "url": "file:///srv/sample/proj/c/b.py"},
    {"type": "patch", "hash": "0ff1ce", "files": ["/srv/sample/proj/c/a.py", "/srv/sample/proj/c/b.py"]},
    {"type": "snapshot", "snapshot": "5ea"},
    {"type": "agent", "name": "explore", "source": {"value": "@explore", "start": 0, "end": 8}},
    {"type": "subtask", "agent": "general", "description": "Look around", "prompt": "Find it.", "command": "find"},
    {
        "type": "retry",
        "attempt": 2,
        "error": {"name": "APIError", "data": {"message": "too busy", "responseBody": "{}"}},
    },
    {"type": "compaction", "auto": True},
    {
        "type": "step-finish",
        "reason": "stop",
        "cost": 0.0125,
        "tokens": {
            "total": 1170,
            "input": 800,
            "output": 50,
            "reasoning": 20,
            "cache": {"read": 200, "write": 100},
        },
    },
    {"type": "hologram", "colour": "green"},
    tool("levitating"),
)
"""A part of each type, of types that nobody knows, and of a shape that nobody knows."""


def write_export(path: Path, export: Export) -> Path:
    path.write_text(json.dumps(export))
    return path


def write_tree(folder: Path, exports: Iterable[Export]) -> Path:
    """OpenCode 1.1's data folder."""
    root = folder / "storage"
    for export in exports:
        info = export["info"]
        _put(root / "project" / f"{info['projectID']}.json", {"id": info["projectID"], "worktree": info["directory"]})
        _put(root / "session" / info["projectID"] / f"{info['id']}.json", info)
        for message in export["messages"]:
            key = message["info"]["id"]
            _put(root / "message" / info["id"] / f"{key}.json", message["info"] | {"sessionID": info["id"]})
            for part in message["parts"]:
                _put(root / "part" / key / f"{part['id']}.json", part | {"messageID": key, "sessionID": info["id"]})
    _put(root / "todo" / "ses_a.json", [])
    return folder


def _put(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_database(folder: Path, exports: Iterable[Export]) -> Path:
    """OpenCode 1.18's data folder, closed properly. Called again it adds what is new."""
    folder.mkdir(parents=True, exist_ok=True)
    connection = connect(folder)
    add(connection, exports)
    connection.close()
    return folder


def connect(folder: Path) -> sqlite3.Connection:
    """The database as a running OpenCode has it open: with a log that nobody puts into it."""
    is_new = not (folder / "opencode.db").exists()
    connection = sqlite3.connect(folder / "opencode.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    if is_new:
        connection.executescript((FOLDER / "schema.sql").read_text())
        for table in ("account", "control_account", "credential", "session_share"):
            rows = connection.execute(f"PRAGMA table_info({table})").fetchall()
            values = [CANARY if row[2] == "TEXT" or row[2] == "text" else 1 for row in rows]
            connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values))})", values)
    return connection


def add(connection: sqlite3.Connection, exports: Iterable[Export]) -> None:
    """Write sessions as OpenCode does."""
    for export in exports:
        info = export["info"]
        row = (info["projectID"], info["directory"], BEGUN, BEGUN)
        connection.execute(
            "INSERT OR IGNORE INTO project (id, worktree, time_created, time_updated, sandboxes)"
            " VALUES (?, ?, ?, ?, '[]')",
            row,
        )
        connection.execute(
            "INSERT INTO session"
            " (id, project_id, parent_id, slug, directory, title, version, time_created, time_updated)"
            " VALUES (?, ?, ?, 'calm-island', ?, ?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET title = excluded.title, time_updated = excluded.time_updated",
            (
                info["id"],
                info["projectID"],
                info.get("parentID"),
                info["directory"],
                info["title"],
                info["version"],
                info["time"]["created"],
                info["time"]["updated"],
            ),
        )
        for message in export["messages"]:
            _add_message(connection, info["id"], message)
        connection.execute(
            "INSERT OR IGNORE INTO todo VALUES (?, 'Read it', 'pending', 'high', 0, ?, ?)", (info["id"], BEGUN, BEGUN)
        )


def _add_message(connection: sqlite3.Connection, session_id: str, message: dict[str, Any]) -> None:
    info = copy.deepcopy(message["info"])
    key = info.pop("id")
    info.pop("sessionID", None)
    at = info["time"]["created"]
    connection.execute(
        "INSERT OR REPLACE INTO message VALUES (?, ?, ?, ?, ?)", (key, session_id, at, at, json.dumps(info))
    )
    rows = []
    for part in message["parts"]:
        data = {name: value for name, value in part.items() if name not in ("id", "sessionID", "messageID")}
        rows.append((part["id"], key, session_id, at, at, json.dumps(data)))
    connection.executemany("INSERT OR REPLACE INTO part VALUES (?, ?, ?, ?, ?, ?)", rows)


def state_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below a folder, and the folders themselves: content and when it was last written."""
    found = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        found[str(path.relative_to(folder))] = (path.read_bytes() if path.is_file() else b"", path.stat().st_mtime_ns)
    return found
