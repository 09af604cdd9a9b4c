"""The folder as an object store: what is in it is whole or not there."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.core.files.storage import FileSystemStorage

PIECE = 1 << 18
"""Bytes that are in memory at a time."""


class Folder(FileSystemStorage):
    """Django's storage in a folder; an object that comes a second time takes the place of the first in one step."""

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        """The name as it is: the same name means the same bytes."""
        return name

    def _save(self, name: str, content: Any) -> str:
        target = Path(self.path(name))
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                pieces: Iterable[bytes] = content.chunks(PIECE)
                for piece in pieces:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        finally:
            Path(temporary).unlink(missing_ok=True)
        return name
