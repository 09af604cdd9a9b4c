"""The current layout: one SQLite database, `opencode.db`."""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from agents.opencode.found import Found, Lost, SourceFault, read

MAGIC = b"SQLite format 3\x00"
Mark = tuple[bytes, int, int]
COPIES = 5
"""How often a database that changes while it is copied is copied again."""
NEEDED = {
    "project": {"id", "worktree"},
    "session": {"id", "project_id", "parent_id", "directory", "title", "version", "time_created", "time_updated"},
    "message": {"id", "session_id", "time_created", "data"},
    "part": {"id", "message_id", "session_id", "data"},
}
COUNTED = ("todo", "session_message", "session_input")
"""Tables that hold something of sessions and are only counted."""
_READABLE = frozenset({*NEEDED, *COUNTED, "sqlite_master"})
_SESSIONS = """
SELECT s.id, s.parent_id, s.directory, s.title, s.version, s.time_created, s.time_updated, p.worktree
FROM session s LEFT JOIN project p ON p.id = s.project_id ORDER BY s.time_created, s.id
"""
_MESSAGES = "SELECT id, data FROM message WHERE session_id = ? ORDER BY time_created, id"
_PARTS = "SELECT id, data FROM part WHERE message_id = ? ORDER BY id"
_LOST_MESSAGES = """
SELECT m.id, m.session_id FROM message m LEFT JOIN session s ON s.id = m.session_id WHERE s.id IS NULL
"""
_LOST_PARTS = """
SELECT p.id, p.message_id, p.session_id FROM part p LEFT JOIN message m ON m.id = p.message_id WHERE m.id IS NULL
"""


class Database:
    """An open `opencode.db`."""

    def __init__(self, path: Path, connection: sqlite3.Connection, mark: Mark | None) -> None:
        self._path, self._connection, self._mark = path, connection, mark
        self._check_tables()

    @property
    def name(self) -> str:
        return f"database {self._path}"

    def sessions(self) -> Iterator[Found]:
        for key, parent, directory, title, version, made, changed, worktree in self._rows(_SESSIONS):
            data = {
                "parentID": parent,
                "directory": directory,
                "title": title,
                "version": version,
                "time": {"created": made, "updated": changed},
                "worktree": worktree,
            }
            yield Found(str(key), data)

    def messages(self, session: str) -> Iterator[Found]:
        return (read(str(key), data) for key, data in self._rows(_MESSAGES, session))

    def parts(self, session: str, message: str) -> Iterator[Found]:
        return (read(str(key), data) for key, data in self._rows(_PARTS, message))

    def lost(self) -> Iterator[Lost]:
        for key, session in self._rows(_LOST_MESSAGES):
            yield Lost(str(key), f"its session {session} is not there", str(session))
        for key, message, session in self._rows(_LOST_PARTS):
            yield Lost(str(key), f"its message {message} is not there", str(session))

    def not_taken(self) -> dict[str, int]:
        present = [table for table in COUNTED if self._columns(table)]
        return {table: next(self._rows(f"SELECT count(*) FROM {table}"))[0] for table in present}

    def finish(self) -> None:
        if self._mark is not None and self._mark != _mark(self._path):
            raise SourceFault(f"{self._path} has changed while it was read: run the import again.")

    def _check_tables(self) -> None:
        for table, needed in NEEDED.items():
            if missing := needed - self._columns(table):
                raise SourceFault(
                    f"{self._path} is a database, but its table '{table}' has no {', '.join(sorted(missing))}: it is "
                    "not OpenCode's, or of a version that this import does not know; then use `opencode export`."
                )

    def _columns(self, table: str) -> set[str]:
        return {row[1] for row in self._rows(f"PRAGMA table_info({table})")}

    def _rows(self, sql: str, *words: str) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._connection.execute(sql, words)
        except sqlite3.Error as error:
            raise SourceFault(
                f"{self._path} cannot be read: {error}. Damaged? Then `sqlite3 {self._path.name} .recover`, on a copy."
            ) from error


@contextmanager
def opened(path: Path) -> Iterator[Database]:
    """Open a database without writing beside it, not even what SQLite itself makes when it reads. Raises SourceFault.

    A database that nobody has open is read in place. One with a log beside it has, or had, a running OpenCode:
    what counts is database and log together, and to read them would touch the log's index; so a copy is read.
    """
    with ExitStack() as stack:
        try:
            mark: Mark | None = _mark(path)
            if _logs(path):
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="waggle-opencode-")))
                connection = stack.enter_context(_connected(_copied(path, folder), "mode=rw"))
                mark = None
            else:
                connection = stack.enter_context(_connected(path, "mode=ro&immutable=1"))
        except (OSError, sqlite3.Error) as error:
            raise SourceFault(
                f"{path} cannot be read or copied: {error}. Read it as its owner; TMPDIR names where copies go."
            ) from error
        yield Database(path, connection, mark)


@contextmanager
def _connected(path: Path, how: str) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, isolation_level=None)
    try:
        # Accounts, credentials and whatever else OpenCode keeps are refused by SQLite itself, and so is writing.
        connection.set_authorizer(_authorize)
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        yield connection
    finally:
        connection.close()


def _authorize(action: int, one: str | None, two: str | None, database: str | None, trigger: str | None) -> int:
    allowed = (
        action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_FUNCTION)
        or (action == sqlite3.SQLITE_READ and one in _READABLE)
        or (action == sqlite3.SQLITE_PRAGMA and one == "table_info")
    )
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _logs(path: Path) -> list[Path]:
    """What lies beside a database: changes that are not in it yet, or what a half-done write has changed in it."""
    logs = [path.with_name(path.name + end) for end in ("-wal", "-journal")]
    return [log for log in logs if log.exists()]


def _mark(file: Path) -> Mark:
    """What is another once a file was written to: its head, and when."""
    with file.open("rb") as stream:
        head = stream.read(32)
    status = file.stat()
    return head, status.st_size, status.st_mtime_ns


def _marks(path: Path) -> list[object]:
    """What is another when the database was written, or its log begun anew; a log that grows is the same log."""
    return [_mark(path), *((log.name, _mark(log)[0]) for log in _logs(path))]


def _copied(path: Path, folder: Path) -> Path:
    """A copy in which database and log belong together. The log's index (-shm) is left out: SQLite makes it anew."""
    for _ in range(COPIES):
        before = _marks(path)
        for file in folder.iterdir():
            file.unlink()
        for file in (path, *_logs(path)):
            shutil.copyfile(file, folder / file.name)
        if _marks(path) == before:
            return folder / path.name
    raise SourceFault(f"{path} is being written all the time: close OpenCode, or give a file of `opencode export`.")
