"""Files of a workspace, by the names that agents use."""

import os
import stat
from pathlib import Path
from typing import IO

from pydantic_ai.exceptions import ToolFailed

MAX_FILE_BYTES = 1_000_000


def place(work: Path, path: str) -> Path:
    """The real path of a name in the work tree. Raises ToolFailed for a path that leads elsewhere."""
    named = Path(path)
    if named.is_absolute() or ".." in named.parts:
        raise ToolFailed(f"{path!r} is not a path in the workspace; name it relative to its root, without '..'.")
    if ".git" in named.parts:
        raise ToolFailed("The .git folder belongs to the platform; it commits your changes when you are done.")
    root = work.resolve()
    try:
        real = (root / named).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise ToolFailed(f"{path!r} cannot be resolved: {error}.") from error
    if not real.is_relative_to(root):
        raise ToolFailed(f"{path!r} leads out of the workspace through a symbolic link.")
    try:
        real.lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass  # there may be something some day
    except OSError as error:
        raise ToolFailed(f"{path!r} cannot be looked at: {error.strerror}.") from error
    return real


def bytes_of(work: Path, path: str) -> tuple[str, IO[bytes]]:
    """The name of an existing file from the root on, and the file, opened. Raises ToolFailed."""
    real = place(work, path)
    try:
        # What the path leads to must be a file still: nobody may put a link in its place meanwhile.
        descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise ToolFailed(f"{path!r} cannot be read: {error.strerror}.") from error
    file = os.fdopen(descriptor, "rb", closefd=True) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
    if file is None:
        os.close(descriptor)
        raise ToolFailed(f"{path!r} is no file; name each file by itself.")
    return str(real.relative_to(work.resolve())), file


def text_of(real: Path, path: str) -> str:
    """What is in an existing file, which has the name `path`. Raises ToolFailed."""
    try:
        return real.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise ToolFailed(f"{path!r} is not a text file.") from error
    except OSError as error:
        raise ToolFailed(f"{path!r} cannot be read: {error.strerror}.") from error


def save(real: Path, path: str, content: str) -> None:
    """Writes a whole file, which has the name `path`, new or not. Raises ToolFailed."""
    data = content.encode("utf-8", "replace")
    if len(data) > MAX_FILE_BYTES:
        raise ToolFailed(f"The text has {len(data)} bytes, more than {MAX_FILE_BYTES}; write smaller files.")
    try:
        real.parent.mkdir(parents=True, exist_ok=True)
        # A pipe that nobody reads would have us wait for ever.
        descriptor = os.open(real, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        with os.fdopen(descriptor, "wb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ToolFailed(f"{path!r} is something else than a file.")
            file.truncate()
            file.write(data)
    except OSError as error:
        raise ToolFailed(f"{path!r} cannot be written: {error.strerror}.") from error
