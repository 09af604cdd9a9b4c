"""Machines with addresses of their own: network namespaces behind a bridge where we may make them, else loopback's.

They see one disk, as machines with a shared folder do. In namespaces none of them reaches the loopback of another.
"""

import random
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """Where programs run, and under which address others reach them."""

    address: str
    inside: tuple[str, ...] = ()
    """What goes before a command that is to run there."""


@contextmanager
def machines(count: int) -> Iterator[list[Machine]]:
    """So many, and before them this one, as the others reach it; while the block lasts."""
    with ExitStack() as stack:
        try:
            made = _with_networks(stack, count)
        except (PermissionError, FileNotFoundError):
            made = [Machine(f"127.0.0.{number}") for number in range(1, count + 2)]
        yield made


def _with_networks(stack: ExitStack, count: int) -> list[Machine]:
    """Raises PermissionError or FileNotFoundError where none can be made."""
    mark = f"{random.randrange(16**6):06x}"
    net = f"10.{random.randrange(64, 250)}.{random.randrange(250)}"
    bridge = f"wg{mark}"
    _ip("link", "add", bridge, "type", "bridge")
    stack.callback(_ip, "link", "del", bridge)
    _ip("addr", "add", f"{net}.1/24", "dev", bridge)
    _ip("link", "set", bridge, "up")
    made = [Machine(f"{net}.1")]
    for number in range(2, count + 2):
        name, ours = f"wg{mark}-{number}", f"wg{mark}v{number}"
        _ip("netns", "add", name)
        stack.callback(_ip, "netns", "del", name)
        _ip("link", "add", ours, "type", "veth", "peer", "name", "eth0", "netns", name)
        stack.callback(_ip, "link", "del", ours)
        _ip("link", "set", ours, "master", bridge, "up")
        _ip("-n", name, "addr", "add", f"{net}.{number}/24", "dev", "eth0")
        for each in ("lo", "eth0"):
            _ip("-n", name, "link", "set", each, "up")
        made.append(Machine(f"{net}.{number}", ("ip", "netns", "exec", name)))
    return made


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if "not permitted" in done.stderr or "Permission denied" in done.stderr:
        raise PermissionError(done.stderr)
    assert done.returncode == 0, done.stderr
