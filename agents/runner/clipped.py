"""What is kept of an output that may be very long."""


class Clipped:
    """The beginning and the end of an output, up to a limit in bytes."""

    def __init__(self, limit: int) -> None:
        self.half = max(limit // 2, 1)
        self.head = bytearray()
        self.tail = bytearray()
        self.left_out = 0

    @property
    def truncated(self) -> bool:
        return self.left_out > 0

    def add(self, data: bytes) -> None:
        """Takes more output."""
        room = self.half - len(self.head)
        self.head += data[:room]
        self.tail += data[room:] if room > 0 else data
        if (excess := len(self.tail) - self.half) > 0:
            self.left_out += excess
            del self.tail[:excess]

    def text(self) -> str:
        """What is kept, with a mark where something is missing."""
        gap = f"\n[… {self.left_out} bytes left out …]\n".encode() if self.truncated else b""
        return (
            bytes(self.head + gap + self.tail).decode("utf-8", "replace").replace("\x00", "\N{REPLACEMENT CHARACTER}")
        )
