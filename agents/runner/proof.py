"""What a runner shows to who shares its disk: a small file of its own, which says which start of it this is."""

from pathlib import Path
from uuid import UUID

FOLDER = "proof"
"""In the runner's folder, with nothing else in it: who is asked for the file may look at all that lies beside it."""


def proof(folder: Path, boot: UUID) -> str:
    """Writes the file, and gives its path. Nobody but who runs us may read it."""
    place = folder / FOLDER
    place.mkdir(mode=0o700, exist_ok=True)
    path = place / "boot"
    path.write_text(str(boot))
    return str(path)
