"""One platform of real processes, and every one of them killed while a swarm is at work.

Lease 4 s, heartbeat 1 s, tick 0.2 s. In every run the short form of chaos kills them all, on swarms of agents too, and
asks more of what is left (tests/test_chaos.py); here a whole platform is started as `manage.py up` starts it.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from config.env import PROJECT_ROOT
from config.services import stop
from config.services.layout import Layout, embedded_urls, read_json
from config.services.marks import Mark, with_variable
from config.services.ports import free_port
from config.services.programs import PLATFORM_MARK
from tests.long import long

SECONDS = 240
SHORT = {"WAGGLE_LEASE_SECONDS": "4", "WAGGLE_HEARTBEAT_SECONDS": "1", "WAGGLE_TICK_SECONDS": "0.2"}
LOOK = """
import json
import django
django.setup()
from django.db.models import Count, Q
from swarms.models import Node, Swarm
from tenants.context import each_team, in_schema
from tests.invariants import violations
found = {"violations": [], "swarms": [], "successes": []}
for schema in each_team():
    found["violations"] += violations(schema, quiet=True)
    with in_schema(schema):
        found["swarms"] += Swarm.objects.values_list("state", flat=True)
        counted = Node.objects.annotate(n=Count("attempts", filter=Q(attempts__state="succeeded")))
        found["successes"] += counted.values_list("n", flat=True)
print(json.dumps(found))
"""


class Program:
    """A command of ours, with what it has printed so far."""

    def __init__(self, environment: dict[str, str], *arguments: str) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", *arguments],
            cwd=PROJECT_ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def wait_for(self, pattern: str, *, since: int = 0) -> int:
        """Until a line after the first `since` ones says so; returns how many lines there are then."""
        deadline = time.monotonic() + SECONDS
        while True:
            count = len(self.lines)
            if any(re.search(pattern, line) for line in self.lines[since:count]):
                return count
            text = "\n".join(self.lines)
            assert self.process.poll() is None, text
            assert time.monotonic() < deadline, f"waited in vain for {pattern}:\n{text}"
            time.sleep(0.05)

    def end(self) -> int:
        """Its exit code."""
        code = self.process.wait(SECONDS)
        self._reader.join(10)
        return code


class Rig:
    """A platform that runs, and means to hurt it."""

    def __init__(self, data: Path) -> None:
        dropped = ("DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE")
        kept = {name: value for name, value in os.environ.items() if name not in dropped}
        ours = {"WAGGLE_DATA_DIR": str(data), "WAGGLE_PORT": str(free_port()), "NO_COLOR": "1"}
        self.environment = kept | SHORT | ours
        self.layout = Layout(data)
        self.up = Program(self.environment, "up")
        self.up.wait_for(r"Waggle runs at")

    def kill(self, name: str) -> None:
        """kill -9; the supervisor starts it again."""
        mark = Mark.parse(read_json(self.layout.platform)["processes"][name])
        assert mark.alive(), f"{name} does not run"
        seen = len(self.up.lines)
        os.kill(mark.pid, signal.SIGKILL)
        self.up.wait_for(rf"{name} was ended by SIGKILL", since=seen)

    def hurt(self, service: str, how: signal.Signals) -> None:
        """End a database in a rude way; the supervisor starts it again."""
        mark = Mark.parse(read_json(self.layout.services)[service])
        seen = len(self.up.lines)
        os.kill(mark.pid, how)
        self.up.wait_for(rf"{service}.* ended; starting again", since=seen)

    def forget(self) -> None:
        """Every message and every stream is gone."""
        with redis.Redis.from_url((embedded_urls(self.layout.root) or {})["REDIS_URL"]) as client:
            client.flushall()

    def demo(self) -> Program:
        """State the sample goal, approve what is asked, prove the result."""
        return Program(self.environment, "demo")

    def look(self) -> dict[str, list[object]]:
        """What is in the database, once all is quiet."""
        urls = embedded_urls(self.layout.root) or {}
        environment = self.environment | urls | {"DJANGO_SETTINGS_MODULE": "config.settings"}
        for _ in range(20):
            done = subprocess.run(
                [sys.executable, "-c", LOOK], cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
            found: dict[str, list[object]] = json.loads(done.stdout.splitlines()[-1])
            if not found["violations"]:
                break
            time.sleep(0.5)  # the last hints may still be on their way
        return found

    def close(self) -> list[Mark]:
        """Stop everything; what is left over."""
        if self.up.process.poll() is None:
            self.up.process.send_signal(signal.SIGINT)
        try:
            self.up.process.wait(60)
        except subprocess.TimeoutExpired:
            self.up.process.kill()
        stop(self.layout.root)
        return with_variable("WAGGLE_DATA_DIR", str(self.layout.root)) if PLATFORM_MARK else []


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    found = Rig(tmp_path_factory.mktemp("kills") / "data")
    try:
        yield found
    finally:
        left = found.close()
        assert not left, f"processes were left behind: {left}"


def proved(demo: Program, rig: Rig) -> None:
    """The demo landed and proved its goal, each node succeeded once, and no row is wrong."""
    assert demo.end() == 0, "\n".join([*demo.lines, "---", *rig.up.lines[-200:]])
    found = rig.look()
    assert found["violations"] == []
    assert set(found["swarms"]) == {"succeeded"}
    assert set(found["successes"]) == {1}


@long
@pytest.mark.timeout(2 * SECONDS)
def test_a_swarm_lands_while_worker_ticker_and_runner_are_killed_and_all_messages_are_lost(rig: Rig) -> None:
    demo = rig.demo()
    seen = demo.wait_for(r"begins attempt 1 of ")
    rig.kill("worker")
    rig.forget()
    seen = demo.wait_for(r"is merged", since=seen)
    rig.kill("ticker")
    seen = demo.wait_for(r"begins attempt \d of|is merged", since=seen)
    rig.kill("runner")
    rig.forget()
    proved(demo, rig)


@long
@pytest.mark.timeout(2 * SECONDS)
def test_a_swarm_lands_while_valkey_postgres_and_web_are_ended(rig: Rig) -> None:
    demo = rig.demo()
    seen = demo.wait_for(r"begins attempt 1 of ")
    rig.hurt("valkey", signal.SIGKILL)
    seen = demo.wait_for(r"is merged", since=seen)
    rig.hurt("postgres", signal.SIGQUIT)
    seen = demo.wait_for(r"begins attempt \d of|is merged", since=seen)
    rig.kill("web")
    proved(demo, rig)
