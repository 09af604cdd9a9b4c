"""An artifact on its way to whoever may have it."""

import asyncio
from collections.abc import AsyncIterator
from typing import IO

from django.http import Http404, StreamingHttpResponse
from django.utils.http import content_disposition_header

from sessions.artifacts import contents
from sessions.artifacts.models import Artifact
from sessions.artifacts.stores import PIECE

SAFE = {
    # Whatever an agent made is never shown as a page of ours.
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-cache",
}


def answer(artifact: Artifact) -> StreamingHttpResponse:
    """The file as it is, to be saved. Raises Http404 when the store has lost it."""
    try:
        file = contents.read(artifact.content)
    except FileNotFoundError as error:
        raise Http404(artifact.name) from error
    name = artifact.name.rpartition("/")[2]
    headers = SAFE | {
        "Content-Disposition": content_disposition_header(True, name) or "attachment",
        "Content-Length": str(artifact.content.size),
        "ETag": f'"{artifact.content.sha256}"',
    }
    return StreamingHttpResponse(_pieces(file), headers=headers, content_type=artifact.media_type)


async def _pieces(file: IO[bytes]) -> AsyncIterator[bytes]:
    """Piece by piece, without keeping the event loop waiting for the store."""
    try:
        while piece := await asyncio.to_thread(file.read, PIECE):
            yield piece
    finally:
        file.close()
