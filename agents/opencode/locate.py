"""Where OpenCode's data is, and in which layout."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from agents.opencode import database
from agents.opencode.export import Export
from agents.opencode.found import SourceFault, Store
from agents.opencode.tree import Tree

_REMEDY = "Give the folder that `opencode debug paths` calls data, an opencode.db, or a file of `opencode export`."
_OLD = "project/*/storage/session/info"


def usual() -> Path:
    """Where OpenCode keeps its data when nobody says otherwise."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "opencode"


@contextmanager
def stores(path: Path) -> Iterator[list[Store]]:
    """What there is to read at a path, a folder or a file, the newest layout first. Raises SourceFault."""
    path = path.expanduser()
    with ExitStack() as stack:
        try:
            found = _found(path, stack)
        except OSError as error:
            raise SourceFault(f"{path} cannot be read: {error.strerror or error}. {_REMEDY}") from error
        yield found


def _found(path: Path, stack: ExitStack) -> list[Store]:
    if path.is_file():
        with path.open("rb") as stream:
            is_database = stream.read(len(database.MAGIC)) == database.MAGIC
        return [stack.enter_context(database.opened(path)) if is_database else Export(path)]
    if not path.is_dir():
        raise SourceFault(f"{path} does not exist. {_REMEDY}")
    # Other channels than the usual one have a database of their own: opencode-dev.db.
    files = sorted(path.glob("opencode*.db"), key=lambda file: (len(file.name), file.name))
    found: list[Store] = [stack.enter_context(database.opened(file)) for file in files]
    found += [Tree(root) for root in (path / "storage", path) if (root / "session").is_dir()]
    if not found and any(path.glob(_OLD)):
        raise SourceFault(
            f"{path} has the layout of before 1.0 ({_OLD}), which this import does not read. "
            "Let OpenCode 1.1 move it into the later one first, for example: npx opencode-ai@1.1.65 session list"
        )
    if not found:
        raise SourceFault(
            f"{path} holds none of what OpenCode keeps: no opencode.db, no storage/session/, no session/. {_REMEDY}"
        )
    return found
