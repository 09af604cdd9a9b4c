"""JSON-RPC messages over two pipes, one a line: what an agent says as far as it is the protocol, with limits."""

import asyncio
import json
import os
from typing import Any, get_args

import structlog
from acp.schema import SessionNotification
from pydantic import ValidationError

log = structlog.get_logger(__name__)

MOST_LINE = 8 << 20
"""Bytes of one message."""
MOST_NONSENSE = 20
"""So many lines that are no messages are borne: some agents print where they should not."""
SHOWN_CHARS = 200

Message = dict[str, Any]
KINDS = tuple(
    get_args(one.model_fields["session_update"].annotation)[0]
    for one in get_args(SessionNotification.model_fields["update"].annotation)
)
"""The kinds of updates that the library knows."""


class Wire:
    """A transport of the protocol's library. Its other end sees the end of the stream when the agent is not understood;
    `fault` says why then."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._nonsense = 0
        self.fault = ""

    @classmethod
    async def between(cls, reading: int, writing: int) -> "Wire":
        """On two open pipes, which are closed with it."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=MOST_LINE)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb"))
        transport, protocol = await loop.connect_write_pipe(
            asyncio.streams.FlowControlMixin, os.fdopen(writing, "wb", 0)
        )
        return cls(reader, asyncio.StreamWriter(transport, protocol, None, loop))

    async def send(self, message: Message) -> None:
        """Says something to the agent. Raises ConnectionError when nobody hears it."""
        self._writer.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
        await self._writer.drain()

    async def receive(self) -> Message | None:
        """The next message; None when there will be none."""
        while not self.fault:
            try:
                line = await self._reader.readuntil(b"\n")
            except asyncio.IncompleteReadError:
                return None
            except asyncio.LimitOverrunError:
                self.fault = f"it said a line of more than {MOST_LINE >> 20} MB"
                return None
            message, wrong = _understood(line)
            if message is not None:
                return message
            if wrong:
                self._bear(line, wrong)
        return None

    async def close(self) -> None:
        """Nothing more is said or heard."""
        self._writer.close()
        transport = getattr(self._reader, "_transport", None)
        if transport is not None:
            transport.close()

    def _bear(self, line: bytes, wrong: str) -> None:
        self._nonsense += 1
        shown = line[:SHOWN_CHARS].decode("utf-8", "replace").strip()
        log.warning("an agent said something that is not the protocol", because=wrong, length=len(line))
        if self._nonsense > MOST_NONSENSE:
            self.fault = f"it says things that are not the protocol ({wrong}), the last time: {shown}"


def _kind(message: Message) -> object:
    """What kind of update it says that it is; one that does not say it counts as one that we know."""
    params = message.get("params")
    update = params.get("update") if isinstance(params, dict) else None
    kind = update.get("sessionUpdate") if isinstance(update, dict) else None
    return kind if isinstance(kind, str) else KINDS[0]


def _understood(line: bytes) -> tuple[Message | None, str]:
    """The message in a line, or what is wrong with it; neither for an empty line."""
    if not line.strip():
        return None, ""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None, "no JSON"
    if not isinstance(message, dict):
        return None, "no object"
    method, key = message.get("method"), message.get("id")
    if not (method is None or isinstance(method, str)) or not (key is None or isinstance(key, int | str)):
        return None, "no message of JSON-RPC"
    if method is None and not isinstance(message.get("error") or {}, dict):
        return None, "an error of no form"
    if method == "session/update":
        if _kind(message) not in KINDS:
            return None, ""  # agents may be newer than we are
        try:
            SessionNotification.model_validate(message.get("params"))
        except ValidationError:
            return None, "an unknown update"
    return message, ""
