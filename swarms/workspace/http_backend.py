"""Smart HTTP by git's own program, as a subprocess."""

import asyncio
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import IO

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse

from swarms.workspace.git import environment

MAX_BODY = 256 * 1024 * 1024
TIMEOUT = 300
PIECE = 1 << 18


def serve(request: HttpRequest, repository: Path, rest: str, *, may_push: str) -> HttpResponseBase:
    """Answer one request of a git client; `may_push` is the only ref that it may push (empty: none)."""
    size = 0
    answer = tempfile.TemporaryFile()  # noqa: SIM115 - the response closes it
    with tempfile.TemporaryFile() as body:
        while chunk := request.read(1 << 20):
            size += len(chunk)
            if size > MAX_BODY:
                return HttpResponse(f"more than {MAX_BODY} bytes in one push: push in smaller steps", status=413)
            body.write(chunk)
        body.seek(0)
        env = _cgi(request.META, request.method or "GET", repository, rest, size) | {"WAGGLE_MAY_PUSH": may_push}
        command = ["git", "-c", "safe.directory=*", "-c", f"core.hooksPath={repository / 'hooks'}", "http-backend"]
        subprocess.run(command, env=env, stdin=body, stdout=answer, timeout=TIMEOUT, check=False)
        answer.seek(0)
        return _response(answer)


def _cgi(meta: Mapping[str, str], method: str, repository: Path, rest: str, size: int) -> dict[str, str]:
    return environment(
        GIT_PROJECT_ROOT=str(repository.parent),
        GIT_HTTP_EXPORT_ALL="1",
        PATH_INFO=f"/{repository.name}/{rest}",
        REQUEST_METHOD=method,
        QUERY_STRING=meta.get("QUERY_STRING", ""),
        CONTENT_TYPE=meta.get("CONTENT_TYPE", ""),
        CONTENT_LENGTH=str(size),
        HTTP_CONTENT_ENCODING=meta.get("HTTP_CONTENT_ENCODING", ""),
        GIT_PROTOCOL=meta.get("HTTP_GIT_PROTOCOL", ""),
        REMOTE_USER="agent",
        REMOTE_ADDR=meta.get("REMOTE_ADDR", ""),
        LD_LIBRARY_PATH=os.environ.get("LD_LIBRARY_PATH", ""),
    )


def _response(answer: IO[bytes]) -> HttpResponseBase:
    status, headers = 200, {}
    while (line := answer.readline()).strip():
        name, _, value = line.decode("latin-1").partition(":")
        if name.lower() == "status":
            status = int(value.split()[0])
        else:
            headers[name] = value.strip()
    kind = headers.pop("Content-Type", "text/plain")
    return StreamingHttpResponse(_pieces(answer), status=status, headers=headers, content_type=kind)


async def _pieces(answer: IO[bytes]) -> AsyncIterator[bytes]:
    """A file's rest, piece by piece, without keeping the event loop waiting for the disk."""
    try:
        while piece := await asyncio.to_thread(answer.read, PIECE):
            yield piece
    finally:
        answer.close()
