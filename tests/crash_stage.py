"""A platform of real processes, of which one at a time is told to die at a crash point, and another takes over.

Lease 3 s, heartbeat 1 s, tick 0.2 s.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.env import PROJECT_ROOT
from config.services import ensure, stop
from config.services.marks import Mark, with_variable
from config.services.ports import free_port
from tests.crash_model import FILE, TEAM
from tests.crash_processes import Forked, Lines, Person, Process, Started, wait_for
from tests.rehearsal_stage import git

QUIET_SECONDS = 20.0
CLOCK = {
    "WAGGLE_LEASE_SECONDS": "3",
    "WAGGLE_HEARTBEAT_SECONDS": "1",
    "WAGGLE_TICK_SECONDS": "0.2",
    "WAGGLE_SWEEP_SECONDS": "0.5",
}
READY = {
    "model": "Application startup complete",
    "web": "Application startup complete",
    "worker": "is ready for action",
    "ticker": "ticker leads",
    "runner": "linked to the control plane",
}
"""Kinds of processes, and what each says when it has begun."""
WORKER = ("--processes", "1", "--threads", "2")


@dataclass
class Death:
    """A process that has met its crash point."""

    process: Process
    is_child: bool
    """It was a child of this process that died."""
    violations: list[str]
    """What `verify` found in the rows right after it, and should not have."""


class Platform:
    """Databases, a scripted model, web, worker, ticker and runner; a team with a project."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        (folder / "log").mkdir(parents=True)
        self.port, self.model_port = free_port(), free_port()
        dropped = ("WAGGLE_", "DATABASE_URL", "REDIS_URL", "DJANGO_")
        self.plain = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
        ours = {
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "WAGGLE_DATA_DIR": str(self.data),
            "WAGGLE_PORT": str(self.port),
            "WAGGLE_LOCAL_SOURCES": "1",
            "WAGGLE_LOCAL_WEBHOOKS": "1",
            "WAGGLE_MODEL_BASE_URL": f"http://127.0.0.1:{self.model_port}/v1",
            "WAGGLE_MODEL_NAME": "scripted",
        }
        self.environment = self.plain | CLOCK | ours
        self.processes: dict[str, Process] = {}
        self.deaths: dict[str, Death] = {}
        self.started = 0
        self.secret = self.schema = self.project = ""

    def open(self) -> None:
        """Start everything."""
        self.environment |= ensure(self.data, bound=True)
        prepare = [sys.executable, "manage.py", "prepare", "--migrate"]
        subprocess.run(prepare, cwd=PROJECT_ROOT, env=self.environment, check=True, capture_output=True)
        self.nursery = Lines(self.environment, self._log("nursery"), "-m", "tests.crash_nursery")
        self.driver = Person("", self._log("driver"), self.environment)
        for kind in ("model", "web", "worker", "ticker"):
            self.begin(kind)
        made = self.ask("team", slug=TEAM)
        self.schema, self.secret = made["schema"], made["runner"]
        self.begin("runner")
        self.project = self.add_project("plain")

    def close(self) -> list[Mark]:
        """Stop everything; what is left over."""
        for process in self.processes.values():
            process.end()
        for name in ("driver", "nursery"):
            if hasattr(self, name):
                getattr(self, name).end()
        stop(self.data)
        return with_variable("WAGGLE_DATA_DIR", str(self.data))

    def begin(self, kind: str, point: str = "") -> None:
        """Let a process begin, and wait until it says so."""
        log = self._log(f"{kind}-{point or 'healthy'}")
        uvicorn = ("uvicorn", "--port")
        self.processes[kind] = {
            "model": lambda: Started(
                "", log, self.plain, *uvicorn, str(self.model_port), "tests.crash_model:application"
            ),
            "runner": lambda: Started(point, log, self._environment_of_runner(), "agents.runner"),
            "web": lambda: self._forked(point, log, *uvicorn, str(self.port), "config.asgi:application"),
            "worker": lambda: self._forked(point, log, "dramatiq", "config.worker", *WORKER),
            "ticker": lambda: self._forked(point, log, "manage.py", "ticker"),
        }[kind]()
        self.processes[kind].says(READY[kind])

    def _forked(self, point: str, log: Path, *command: str) -> Process:
        return Forked(point, log, self.nursery, *command)

    def _log(self, name: str) -> Path:
        self.started += 1
        return self.folder / "log" / f"{self.started:03}-{name}"

    def _environment_of_runner(self) -> dict[str, str]:
        return self.plain | {
            "WAGGLE_URL": f"http://127.0.0.1:{self.port}",
            "WAGGLE_RUNNER_TOKEN": self.secret,
            "WAGGLE_RUNNER_NAME": "local",
            "WAGGLE_RUNNER_DIR": str(self.data / "runner"),
        }

    def kill(self, kind: str) -> None:
        """End a process at once, with its children."""
        process = self.processes.pop(kind)
        process.signal(signal.SIGKILL)
        process.code()

    def replace(self, kind: str, point: str) -> None:
        """Another process takes the place of one that has nothing to do."""
        self.kill(kind)
        self.begin(kind, point)

    def dies(self, kind: str, *, then: str = "", child: bool = False, wrong: tuple[str, ...] = ()) -> None:
        """Wait until a process (or a child of it) dies, and look at the rows as it has left them; another begins.

        `wrong` is what somebody's hand has done to the rows.
        """
        process = self.processes[kind]
        self._meets(process, child, wrong)
        if child:
            process.says("a child left no outcome")
            process.end()
        del self.processes[kind]
        self.begin(kind, then)

    def _meets(self, process: Process, child: bool = False, wrong: tuple[str, ...] = ()) -> None:
        point = process.point.partition(":")[0]
        process.says(f"crash point {point}\n", self.looks)
        self.deaths[point] = Death(process, child, sorted({*wrong} ^ {*self.ask("violations")}))

    def dies_in_turn(self, kind: str, *following: str) -> None:
        """One after the other dies, and the next of these takes over."""
        for point in following:
            self.dies(kind, then=point)

    def dies_over(self, point: str, verb: str, **words: object) -> None:
        """Somebody else does something, and dies over it."""
        somebody = Person(point, self._log(f"driver-{point}"), self.environment)
        somebody.lines.write(verb=verb, schema=self.schema, **words)
        self._meets(somebody)

    def heal(self) -> None:
        """Whatever a journey that failed has left: one healthy process of each kind runs."""
        for kind in READY:
            if (process := self.processes.get(kind)) is not None:
                if not process.point and process.poll() is None:
                    process.signal(signal.SIGCONT)
                    continue
                self.kill(kind)
            self.begin(kind)

    def ask(self, verb: str, **words: object) -> Any:
        """Let the driver do something in the team, or in the `schema` of another one; its answer."""
        return self.driver.lines.ask(verb=verb, **{"schema": self.schema} | words)

    def looks(self) -> Any:
        """Where everything is, for who waits in vain."""
        return self.ask("look")

    def settles(self, faults: Callable[[], list[str]]) -> list[str]:
        """What is wrong once all is quiet: the last hints may still be on their way."""
        deadline = time.monotonic() + QUIET_SECONDS
        while (found := faults()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return found

    def add_project(self, slug: str, **more: object) -> str:
        """A project with a repository of its own, copied."""
        made = self.ask("project", slug=slug, source=str(self.repository(slug)), **more)
        schema = more.get("schema", self.schema)
        wait_for(lambda: self.ask("state_of_project", schema=schema, pk=made) == "ready", self.looks)
        return str(made)

    def repository(self, slug: str) -> Path:
        """A bare repository with one file."""
        work, bare = self.folder / "sources" / slug, self.folder / "sources" / f"{slug}.git"
        work.mkdir(parents=True)
        git(work, "init", "--quiet", "--initial-branch=main")
        (work / FILE).write_text("(end)\n")
        git(work, "add", "--all")
        git(work, "commit", "--quiet", "--message=Begin")
        git(work, "clone", "--quiet", "--bare", str(work), str(bare))
        return bare
