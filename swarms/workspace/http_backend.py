"""Smart HTTP by git's own program, as a subprocess."""

import asyncio
import os
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import IO

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse

from swarms.workspace.git import BIG_FILE, environment

MAX_BODY = 256 * 1024 * 1024
TIMEOUT = 300
PIECE = 1 << 18
SERVICES = ("git-upload-pack", "git-receive-pack")
OPTIONS = (
    "safe.directory=*",
    "http.getanyfile=false",
    "receive.denyDeletes=true",
    # Also what a compressed body unpacks to.
    f"receive.maxInputSize={MAX_BODY}",
    f"core.bigFileThreshold={BIG_FILE}",
    "pack.threads=1",
)


def is_served(method: str, rest: str, service: str) -> bool:
    """Whether this is a request of the smart protocol: files of the repository are served to nobody."""
    if method == "GET":
        return rest == "info/refs" and service in SERVICES
    return method == "POST" and rest in SERVICES


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
        options = (*OPTIONS, f"core.hooksPath={repository / 'hooks'}")
        command = ["git", *(word for option in options for word in ("-c", option)), "http-backend"]
        if not _run(command, env, body, answer):
            answer.close()
            return HttpResponse(f"git did not end within {TIMEOUT} s: push in smaller steps", status=504)
        answer.seek(0)
        return _response(answer)


def _run(command: list[str], env: dict[str, str], body: IO[bytes], answer: IO[bytes]) -> bool:
    """Run git to its end; with all of its children it is stopped, when that takes too long."""
    with subprocess.Popen(command, env=env, stdin=body, stdout=answer, start_new_session=True) as process:
        try:
            process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return False
    return True


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
