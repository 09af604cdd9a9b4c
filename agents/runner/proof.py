"""Which start of a runner this is: for who shares its disk, and for the next one that has its folder."""

from contextlib import suppress
from pathlib import Path
from uuid import UUID

STARTED = "started"
"""A file in the runner's folder: the start of a runner that the control plane let in last."""
FOLDER = "proof"
"""In the runner's folder, with nothing else in it: who is asked for the file may look at all that lies beside it."""


def proof(folder: Path, boot: UUID) -> str:
    """Writes the file, and gives its path. Nobody but who runs us may read it."""
    place = folder / FOLDER
    place.mkdir(mode=0o700, exist_ok=True)
    path = place / "boot"
    path.write_text(str(boot))
    return str(path)


def started(folder: Path, boot: UUID) -> None:
    """The control plane has let this start in. Where it cannot be written, the next one may have to wait a little."""
    with suppress(OSError):
        (folder / STARTED).write_text(str(boot))


def before(folder: Path) -> UUID | None:
    """The start that had this folder before, and is over since we have it."""
    try:
        return UUID((folder / STARTED).read_text())
    except (OSError, ValueError):
        return None
