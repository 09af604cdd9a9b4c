"""Body of a process that waits, for tests: it loads nothing else."""

import os
from contextlib import suppress
from multiprocessing.connection import Connection


def waits(say: str, control: Connection, errors: Connection) -> None:
    """Says a word, then waits for one; without a word it ends at once."""
    os.setsid()
    if say:
        control.send((say,))
        with suppress(EOFError):
            control.recv()
