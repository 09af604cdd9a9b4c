"""Ids of messages and parts as OpenCode makes them: they sort by time."""

import random
import string
import time

_LETTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_last = 0


def new_id(prefix: str) -> str:
    """A new id, such as msg_ and prt_ have; later than all before."""
    global _last
    _last = max(_last + 1, time.time_ns() // 1_000_000 * 4096 + 1)
    return f"{prefix}_{_last & 0xFFFFFFFFFFFF:012x}" + "".join(random.choices(_LETTERS, k=14))
