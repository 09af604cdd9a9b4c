"""Runs inside the sandbox, which has no network: starts a server there, and carries bytes between two Unix sockets and
two ports of the sandbox's own loopback. Standard library only.

`python3 bridge.py LISTENER SERVER_PORT PLANE PLANE_PORT WORK COMMAND…`: whoever connects to the open socket of number
LISTENER (-1: there is none) reaches the server; what connects to PLANE_PORT reaches the socket PLANE. Ends with the
server.
"""

import asyncio
import os
import socket
import sys
from asyncio import StreamReader, StreamWriter
from contextlib import suppress


async def carry(reader: StreamReader, writer: StreamWriter) -> None:
    """All bytes of one direction, to the end."""
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


async def join(reader: StreamReader, writer: StreamWriter, far: "tuple[StreamReader, StreamWriter]") -> None:
    """Carries both directions until both are over."""
    try:
        await asyncio.gather(carry(reader, far[1]), carry(far[0], writer))
    finally:
        for each in (writer, far[1]):
            each.close()


async def main(listener: int, server: int, plane: str, plane_port: int, work: str, command: "list[str]") -> int:
    """The server's exit code."""
    os.chdir(os.path.dirname(plane))  # names of sockets must be short
    if listener >= 0:
        os.set_inheritable(listener, False)

    async def inward(reader: StreamReader, writer: StreamWriter) -> None:
        try:
            far = await asyncio.open_connection("127.0.0.1", server)
        except OSError:  # not yet, or not any more
            writer.close()
            return
        await join(reader, writer, far)

    async def outward(reader: StreamReader, writer: StreamWriter) -> None:
        try:
            far = await asyncio.open_unix_connection(os.path.basename(plane))
        except OSError:
            writer.close()
            return
        await join(reader, writer, far)

    if listener >= 0:
        await asyncio.start_unix_server(inward, sock=socket.socket(fileno=listener))
    await asyncio.start_server(outward, "127.0.0.1", plane_port)
    process = await asyncio.create_subprocess_exec(*command, cwd=work)
    code = await process.wait()
    return code if code >= 0 else 128 - code  # as shells say it: killed by a signal


if __name__ == "__main__":
    given = sys.argv[1:]
    sys.exit(asyncio.run(main(int(given[0]), int(given[1]), given[2], int(given[3]), given[4], given[5:])))
