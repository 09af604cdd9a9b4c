"""Runs inside the sandbox, which has no network: starts a server there, and carries bytes between two sockets in a
folder and two ports of the sandbox's own loopback. Standard library only.

`python3 bridge.py FOLDER SERVER_PORT PLANE_PORT WORK COMMAND…`: whoever connects to FOLDER/in.sock reaches the server;
what connects to PLANE_PORT reaches FOLDER/out.sock. Ends with the server.
"""

import asyncio
import os
import sys
from asyncio import StreamReader, StreamWriter
from contextlib import suppress

INSIDE, OUTSIDE = "in.sock", "out.sock"


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


async def main(folder: str, server: int, plane: int, work: str, command: "list[str]") -> int:
    """The server's exit code."""
    os.chdir(folder)  # names of sockets must be short

    async def inward(reader: StreamReader, writer: StreamWriter) -> None:
        try:
            far = await asyncio.open_connection("127.0.0.1", server)
        except OSError:  # not yet, or not any more
            writer.close()
            return
        await join(reader, writer, far)

    async def outward(reader: StreamReader, writer: StreamWriter) -> None:
        try:
            far = await asyncio.open_unix_connection(OUTSIDE)
        except OSError:
            writer.close()
            return
        await join(reader, writer, far)

    with suppress(FileNotFoundError):
        os.unlink(INSIDE)
    await asyncio.start_unix_server(inward, INSIDE)
    await asyncio.start_server(outward, "127.0.0.1", plane)
    process = await asyncio.create_subprocess_exec(*command, cwd=work)
    return await process.wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5:])))
