"""A provider that shouts its key: `uvicorn tests.canary_provider:application`, with the scripted model behind it.

It takes only the key that it is told by a file, and says it again wherever it can: in what its model answers, in its
headers, and in its errors. While there is a file `broken`, it takes no key at all.
"""

import json
import os
from pathlib import Path
from typing import Any

from agents.rehearsal.app import Receive, Rehearsal, Send
from tests.crash_model import CANARIES, SCENES

FOLDER = Path(os.environ.get("CANARY_FOLDER", "."))
WORD = CANARIES["berries"]
model = Rehearsal(SCENES, pace=0)


async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """The model's answer, with the key in it."""
    if scope["type"] != "http":
        await model(scope, receive, send)
        return
    key = (FOLDER / "key").read_bytes()
    told = dict(scope["headers"]).get(b"authorization", b"")
    with (FOLDER / "asked").open("a") as asked:
        asked.write(f"{told == b'Bearer ' + key}\n")
    if told != b"Bearer " + key or (FOLDER / "broken").exists():
        error = {"error": {"message": f"Wrong key: {key.decode()}", "type": key.decode(), "code": "invalid_api_key"}}
        await send(
            {
                "type": "http.response.start",
                "status": 401,
                "headers": [(b"content-type", b"application/json"), (b"x-request-id", key)],
            }
        )
        await send({"type": "http.response.body", "body": json.dumps(error).encode()})
        return

    async def shout(message: Any) -> None:
        if message["type"] == "http.response.start":
            headers = [pair for pair in message["headers"] if pair[0].lower() != b"content-length"]
            message = message | {"headers": [*headers, (b"x-request-id", key)]}
        elif body := message.get("body"):
            message = message | {"body": body.replace(WORD.encode(), WORD.encode() + b" " + key)}
        await send(message)

    await model(scope, receive, shout)
