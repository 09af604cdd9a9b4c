"""A team's key is put in, its agents work, and their provider shouts it: it is nowhere to be read afterwards.

Real processes, databases, git and sandboxes; only the language model is scripted, behind its HTTP interface.
"""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx
import pytest

from config.env import PROJECT_ROOT
from config.services.ports import free_port
from config.services.postgres import program
from swarms.states import SWARM_ENDED
from tests.crash_model import CANARIES
from tests.crash_processes import Started, wait_for
from tests.crash_stage import Platform

pytestmark = pytest.mark.timeout(300)
KEY = "sk-canary-quetzalcoatl-0123456789abcdef"
TEAM = "berries"
WORD = CANARIES[TEAM]
"""It stands in all that is said, so that where the key is not found, something else is."""

MOST_PAGES = 25


@dataclass
class Seen:
    """What was to be read anywhere while and after the team was at work: its place, and the text."""

    texts: list[tuple[str, bytes]]
    asked: list[str]
    works: list[bytes]
    """Command lines of runners, their children and commands of agents that were looked at."""

    def where(self, word: str) -> set[str]:
        """Places that hold a word."""
        return {place for place, text in self.texts if word.encode() in text}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    platform, beside = Platform(tmp_path_factory.mktemp("platform")), tmp_path_factory.mktemp("provider")
    platform.environment["WAGGLE_LOCAL_PROVIDERS"] = "1"
    (beside / "key").write_text(KEY)
    try:
        platform.open()
        yield work(platform, beside)
    finally:
        left = platform.close()
        assert not left, f"processes were left behind: {left}"


def work(platform: Platform, beside: Path) -> Seen:
    """Let the team work, once with a provider that takes its key and once with one that does not; then look around."""
    port = free_port()
    environment = platform.plain | {"CANARY_FOLDER": str(beside)}
    command = ("uvicorn", "--port", str(port), "tests.canary_provider:application")
    platform.processes["provider"] = Started("", beside / "log", environment, *command)
    platform.processes["provider"].says("Application startup complete")
    made = platform.ask("team", schema="", slug=TEAM, runner=False)
    given = ["add", "ours", "--team", TEAM, "--url", f"http://127.0.0.1:{port}/v1", "--models", "scripted"]
    texts = [("command", manage(platform, "provider_key", *given, key=KEY))]
    schema, over, about = made["schema"], threading.Event(), dict[str, bytes]()
    looking = threading.Thread(target=look_at_processes, args=[over, about])
    looking.start()
    try:
        project = platform.add_project(TEAM, schema=schema)
        swarms = []
        for is_broken in (False, True):
            if is_broken:
                (beside / "broken").touch()
            swarm, token = platform.ask("state_goal_about", schema=schema, project=project, word=WORD)
            swarms.append((swarm, token))
            wait_for(lambda swarm=swarm: platform.ask("state", schema=schema, swarm=swarm) in ENDED, platform.looks)
    finally:
        over.set()
        looking.join()
    states = [platform.ask("state", schema=schema, swarm=swarm) for swarm, _ in swarms]
    assert states == ["succeeded", "failed"]
    texts += about.items()
    texts += around(platform, schema, swarms)
    return Seen(texts, (beside / "asked").read_text().split(), [text for text in about.values() if b"sandbox" in text])


ENDED = {str(state) for state in SWARM_ENDED}


def around(platform: Platform, schema: str, swarms: list[tuple[str, str]]) -> Iterator[tuple[str, bytes]]:
    """Rows, streams, the whole database as a dump, files, logs, pages, answers, exports."""
    for where in ("public", schema):
        for place, word in platform.ask("where_words_are", schema=where, words=[KEY, WORD]):
            yield f"stored {place}", word.encode()
    address = platform.environment["DATABASE_URL"]
    dumped = subprocess.run([program("pg_dump"), "--dbname", address], check=True, capture_output=True)
    yield "dump", dumped.stdout
    for root in (platform.folder / "log", platform.data):
        for path in root.rglob("*"):
            if path.is_file() and not path.is_symlink() and "postgres" not in path.parts:
                kind = "log" if "log" in str(path.relative_to(root.parent)) else "file"
                yield f"{kind} {path}", path.read_bytes()
            elif path.suffix == ".git":
                history = ["git", f"--git-dir={path}", "log", "--all", "--patch"]
                yield f"history {path}", subprocess.run(history, capture_output=True, check=False).stdout
    sessions: set[str] = set()
    for number, (swarm, token) in enumerate(swarms):
        headers = {"authorization": f"Bearer {token}"}
        url = f"http://127.0.0.1:{platform.port}/t/{TEAM}/api/v1/swarms/{swarm}/replay"
        answer = httpx.get(url, headers=headers, trust_env=False, timeout=60)
        yield "answer", answer.content
        sessions |= set(re.findall(r'"session": ?"([0-9a-f-]{36})"', answer.text))
        bundle = platform.folder / f"{number}.zip"
        yield "export", manage(platform, "export_swarm", swarm, "--team", TEAM, "--to", str(bundle))
        with ZipFile(bundle) as opened:
            for name in opened.namelist():
                yield f"export {name}", opened.read(name)
    assert sessions
    yield from pages(platform, [f"/sessions/{one}/" for one in sorted(sessions)])


def pages(platform: Platform, first: list[str]) -> Iterator[tuple[str, bytes]]:
    """What an owner sees, on every page that leads from those in the menu."""
    local = f"http://127.0.0.1:{platform.port}"
    with httpx.Client(trust_env=False, timeout=60) as browser:
        link = httpx.URL(manage(platform, "signin_link", "--team", TEAM).decode().strip())
        headers = {"host": link.netloc.decode(), "origin": f"{link.scheme}://{link.netloc.decode()}"}
        path = link.raw_path.decode()
        form = browser.get(local + path, headers=headers)
        csrf = form.text.partition('name="csrfmiddlewaretoken" value="')[2].partition('"')[0]
        headers["cookie"] = "; ".join(cookies_of(form))
        answer = browser.post(local + path, headers=headers, data={"csrfmiddlewaretoken": csrf})
        session = next(cookie for cookie in cookies_of(answer) if cookie.startswith("waggle_session="))
        headers = {"host": f"{TEAM}.waggle.localhost:{platform.port}", "cookie": session}
        waiting = [*first, "/", "/agents/", "/swarms/", "/projects/", "/decisions/", "/settings/providers/"]
        waiting += ["/admin/agents/provider/", "/admin/agents/modelprice/"]
        met = set(waiting)
        while waiting:
            path = waiting.pop(0)
            page = browser.get(local + path, headers=headers)
            assert page.status_code == 200, (path, page.status_code)
            yield f"page {path}", page.content + str(page.headers).encode()
            for piece in page.text.split('href="')[1:]:
                found = piece.partition('"')[0].partition("#")[0]
                if (
                    found.startswith(("/swarms/", "/sessions/", "/projects/", "/agents/"))
                    and found not in met
                    and len(met) < MOST_PAGES
                ):
                    met.add(found)
                    waiting.append(found)


def cookies_of(answer: httpx.Response) -> list[str]:
    """What it sets, for a browser whose names lead elsewhere."""
    return [text.partition(";")[0] for text in answer.headers.get_list("set-cookie")]


def look_at_processes(over: threading.Event, about: dict[str, bytes]) -> None:
    """Command lines and environments of all processes, again and again; each kept once."""
    while not over.wait(0.1):
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    line, variables = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
                except OSError:
                    continue
                about[f"process {entry.name} {line[:60]!r}"] = line + b"\n" + variables


def manage(platform: Platform, *words: str, key: str = "") -> bytes:
    """What a management command prints."""
    command = [sys.executable, "manage.py", *words]
    done: Any = subprocess.run(
        command, cwd=PROJECT_ROOT, env=platform.environment, input=f"{key}\n".encode(), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return bytes(done.stdout)


def test_the_provider_was_asked_with_the_key_and_shouted_it(seen: Seen) -> None:
    assert len(seen.asked) > 3
    assert set(seen.asked) == {"True"}
    heard = {place.partition(" ")[0] for place in seen.where("[redacted]")}
    assert {"dump", "history", "export", "page"} <= heard


def test_who_looks_finds_what_is_there(seen: Seen) -> None:
    found = seen.where(WORD)
    assert {"stored agent_sessions_event", "stored agent_sessions_part", "dump"} <= found
    assert {place.partition(" ")[0] for place in found} >= {"stored", "dump", "history", "answer", "export", "page"}
    assert any(place.startswith("page /sessions/") for place in found)
    assert seen.works, "no sandbox was seen"


def test_the_key_is_nowhere_to_be_read(seen: Seen) -> None:
    assert seen.where(KEY) == set()
    assert seen.where(KEY[3:-6]) == set(), "not even most of it"
