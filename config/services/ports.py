"""Free ports on loopback."""

import random
import socket

# Below the range from which systems take the ports of outgoing connections (Linux: 32768 and up).
FIRST, LAST = 20_000, 29_999


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A free port. Raises OSError when a hundred tries found none."""
    for port in random.sample(range(FIRST, LAST + 1), 100):
        if is_free(port):
            return port
    raise OSError(f"no free port between {FIRST} and {LAST} on 127.0.0.1")
