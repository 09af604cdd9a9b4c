"""A developer's OpenCode that has really worked: the pinned program, a small repository, a scripted model.

It has said, thought, read, written, failed, asked and been refused, kept a list, sent out a subagent and met an error;
and its folder was copied once while it waited for an answer.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from agents.runtimes.opencode.configuration import FOLDER, configuration, variables
from agents.runtimes.opencode.server import furnish
from config.services.ports import free_port
from tests.fake_control_plane import call, serving, until

PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
TODO = {"content": "höflich sein", "status": "in_progress", "priority": "high"}
SCRIPTS: dict[str, list[list[dict[str, Any]]]] = {
    "greet": [
        [
            {"reasoning_content": "Hm, überlegen…"},
            {"content": "Ich lese — 你好 e\u0301 😀"},
            call("read", filePath="greet.py"),
        ],
        [
            call("todowrite", todos=[TODO]),
            call("edit", filePath="greet.py", oldString="'hello ' + name", newString="f'Guten Tag, {name}.'"),
            call("read", filePath="missing.py"),
            call("teleport", where="away"),
        ],
        [call("bash", command="echo grün; seq 3000", description="counts")],
        [call("bash", command="rm -rf docs", description="removes")],
        [call("task", description="look around", prompt="script:look", subagent_type="general")],
        [{"content": "Fertig ✓"}],
    ],
    "look": [[{"content": "I look."}, call("glob", pattern="*.py")], [{"content": "There is greet.py."}]],
    "fail": [[{"status": 400, "code": "bad"}]],
}
"""By the word in what the model is told; its answers, one after the other."""


def play(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The next answer of the script that was named last."""
    named = [
        (place, found[1])
        for place, message in enumerate(messages)
        if message["role"] == "user" and (found := re.search(r"script:(\w+)", str(message["content"])))
    ]
    place, name = named[-1]
    return SCRIPTS[name][sum(message["role"] == "assistant" for message in messages[place:])]


@dataclass
class Developer:
    """What they have, and what their OpenCode says of it."""

    data: Path
    """OpenCode's data folder; its server runs."""
    early: Path
    """The same as it was while the agent waited for a yes to its first command."""
    exported: Path
    """What `opencode export` made of the first session."""
    sessions: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By id: `info`, `messages`, `todo`, as the server answers for them. The first one is first."""


@contextmanager
def worked(program: Path, folder: Path) -> Iterator[Developer]:
    """A developer whose OpenCode has worked in a folder of its own, and still runs."""
    with serving(folder / "model", play) as plane:
        work = folder / "Projekt ü"
        subprocess.run(["git", "clone", "--quiet", plane.repository, work], check=True)
        furnish(folder)
        told = configuration(plane.assignment(), plane.url) | {"snapshot": True, "permission": {"bash": "ask"}}
        environment = variables(told, str(folder / FOLDER)) | {"PATH": os.environ["PATH"]}
        port = free_port()
        command = [program, "serve", "--hostname", "127.0.0.1", "--port", str(port)]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(command, cwd=work, env=environment, stdout=log, stderr=log)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=120) as client:
                client.params = client.params.set("directory", str(work))
                until(lambda: _is_up(client, server), "OpenCode answers")
                made = Developer(
                    Path(environment["XDG_DATA_HOME"]) / "opencode", folder / "early", folder / "session.json"
                )
                first = _work(client, made)
                export = subprocess.run(
                    [program, "export", first], cwd=work, env=environment, capture_output=True, check=True
                )
                made.exported.write_bytes(export.stdout)
            yield made
        finally:
            server.terminate()
            server.wait(20)


def _is_up(client: httpx.Client, server: "subprocess.Popen[bytes]") -> bool:
    assert server.poll() is None, "OpenCode ended at its start"
    try:
        return client.get("/global/health", timeout=2).is_success
    except httpx.HTTPError:
        return False


def _work(client: httpx.Client, made: Developer) -> str:
    """The sessions. Returns the id of the first."""
    first = client.post("/session", json={"title": "Höfliche Grüße 🐝"}).json()["id"]
    files = [
        {"type": "file", "mime": "text/plain", "filename": "README.md", "url": "file:///README.md"},
        {"type": "file", "mime": "image/gif", "filename": "shot.gif", "url": PIXEL},
    ]
    files[0]["url"] = (Path(str(client.params["directory"])) / "README.md").as_uri()
    with ThreadPoolExecutor() as pool:
        turn = pool.submit(_say, client, first, "Grüß höflich. script:greet", *files)
        asked = _asked(client)
        shutil.copytree(made.data, made.early)
        client.post(f"/permission/{asked['id']}/reply", json={"reply": "once"})
        asked = _asked(client)
        client.post(f"/permission/{asked['id']}/reply", json={"reply": "reject", "message": "Bitte nicht."})
        turn.result()
    _say(client, first, "script:fail")
    client.post(f"/session/{first}/shell", json={"agent": "build", "command": "echo von Hand"})
    until(lambda: "error" in _messages(client, first)[-3]["info"], "the error is in its message")
    for info in sorted(client.get("/session").json(), key=lambda info: info["id"] != first):
        todo = client.get(f"/session/{info['id']}/todo").json()
        made.sessions[info["id"]] = {"info": info, "messages": _messages(client, info["id"]), "todo": todo}
    return str(first)


def _say(client: httpx.Client, session: str, text: str, *more: dict[str, str]) -> None:
    parts = [{"type": "text", "text": text}, *more]
    client.post(f"/session/{session}/message", json={"parts": parts}).raise_for_status()


def _asked(client: httpx.Client) -> dict[str, Any]:
    """The request for permission that comes next."""
    while not (waiting := client.get("/permission").json()):
        time.sleep(0.05)
    return dict(waiting[0])


def _messages(client: httpx.Client, session: str) -> list[dict[str, Any]]:
    return list(client.get(f"/session/{session}/message").json())
