"""A platform of real processes whose agents are OpenCode's, held in any phase of an attempt, and killed there.

What holds it: git on the runner's PATH, which waits before or after a command of git's while a file says so; SIGSTOP; a
scripted model that is silent, has a command run that does not end, or one that people are asked about.
"""

import os
import re
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conformance import processes_of, server_of
from tests.crash_processes import wait_for
from tests.crash_stage import Platform
from tests.death_phases import AFTER_WRITING, PHASES, UNTOUCHED, WARM, is_server
from tests.fake_control_plane import FakeControlPlane, call
from tests.test_sandbox import parent_of

GIT = """#!/bin/sh
# git, which waits where a file says so.
for verb; do case $verb in reset|push) break;; esac; done
hold() {{
  [ -e '{holds}'/"$1-$verb" ] || return 0
  touch '{holds}'/"$1-$verb.held"
  while [ -e '{holds}'/"$1-$verb" ]; do sleep 0.02; done
}}
hold before
{git} "$@"
code=$?
hold after
exit $code
"""
ASKED = "touch asked.txt"
PATIENCE = 240.0
"""A limit against hanging, in seconds: programs that take seconds to start are started again and again."""


@dataclass
class Cell:
    """One phase in which somebody is killed."""

    phase: str
    victims: str
    is_over: bool = False
    """The deed is done: the agent goes on."""
    is_reached: bool = False
    """The model was asked for what the phase needs."""

    @property
    def word(self) -> str:
        """It stands in all that belongs to it."""
        return f"{self.phase}-{self.victims}"

    @property
    def file(self) -> str:
        """What the agent writes first."""
        return f"{self.word}.txt"

    @property
    def endless(self) -> str:
        """A command that does not end by itself."""
        return f"tail -f {self.file}"

    @property
    def plan(self) -> dict[str, Any]:
        """One node."""
        node = {
            "key": "write",
            "title": f"Write {self.word}",
            "role": "developer",
            "instructions": f"Write {self.file}.",
            "writes": ["*.txt"],
            "checks": [{"name": "is there", "command": f"test -e {self.file}"}],
        }
        return {"summary": f"About {self.word}.", "nodes": [node]}

    def answer(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What the model says next: it writes, comes to the phase, and is done."""
        calls = [one["function"] for message in messages for one in message.get("tool_calls") or ()]
        if not any(one["name"] == "write" for one in calls):
            return [call("write", filePath=self.file, content=self.word)]
        self.is_reached = True
        asked = sum(ASKED in one["arguments"] for one in calls)
        if self.phase in ("permission", "waiting") and (not self.is_over or asked < 2):
            return [call("bash", command=ASKED, description="x")]
        if self.phase == "streaming" and not self.is_over:
            return [{"content": "I ponder"}, {"pause": 60}]
        if self.phase in ("tool", "taken") and not self.is_over:
            return [call("bash", command=self.endless, description="x")]
        return [call("StructuredOutput", summary=f"It is {self.word}.")]


class Theatre(Platform):
    """The platform; its model is in the tests' own process."""

    def __init__(self, folder: Path, program: Path, plane: FakeControlPlane) -> None:
        super().__init__(folder)
        self.cells: dict[str, Cell] = {}
        plane.script = self._model
        self.environment |= {
            "WAGGLE_RUNTIME": "opencode",
            "WAGGLE_MODEL_BASE_URL": f"{plane.url}/model/v1",
        }
        self.is_warm = self.has_worked = False
        self.doomed = 0
        """Which server is to be killed, where it is not the only one."""
        self._program = program
        self._holds = folder / "holds"
        self._holds.mkdir()
        shim = folder / "bin" / "git"
        shim.parent.mkdir()
        real = next(each for each in map(Path, os.get_exec_path()) if (each / "git").is_file()) / "git"
        shim.write_text(GIT.format(holds=self._holds, git=real))
        shim.chmod(0o755)

    @property
    def runner(self) -> Path:
        return self.data / "runner"

    def begin(self, kind: str, point: str = "") -> None:
        """See Platform; the model has begun."""
        if kind != "model":
            super().begin(kind, point)
        if kind == "runner":
            self.has_worked = False

    def heal(self) -> None:
        """See Platform; and what a case that failed has left undone is stopped."""
        super().heal()
        self.until(lambda: self.ask("cancel_all"))

    def until(self, what: Callable[[], Any]) -> Any:
        """The first true value of `what`."""
        return wait_for(what, self.looks, PATIENCE)

    def _environment_of_runner(self) -> dict[str, str]:
        path = f"{self.folder / 'bin'}:{self.plain['PATH']}"
        warm = {"WAGGLE_RUNNER_WARM_SERVERS": str(int(self.is_warm))}
        return super()._environment_of_runner() | warm | {"WAGGLE_RUNNER_OPENCODE": str(self._program), "PATH": path}

    def _model(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        briefing = next(str(message["content"]) for message in messages if message["role"] == "user")
        word = next(line for line in briefing.splitlines() if "Write " in line).rpartition("Write ")[2].strip()
        return self.cells[word].answer(messages)

    # Phases

    def act(self, cell: Cell) -> tuple[str, list[str]]:
        """Comes to the phase, kills, and waits for the end: how it ended in a word, and all that is wrong."""
        self.cells[cell.word], self.doomed = cell, 0
        if self.is_warm != (cell.phase in WARM):
            self.is_warm = not self.is_warm
            self.replace("runner", "")
        with PHASES[cell.phase](self, cell) as swarm:
            if cell.victims in ("server", "both"):
                os.kill(self.doomed or self.server(), signal.SIGKILL)
            if cell.victims in ("runner", "both"):
                self.kill("runner")
            cell.is_over = True
        if "runner" not in self.processes:
            self.begin("runner")
        return self._end(cell, swarm)

    def _end(self, cell: Cell, swarm: str) -> tuple[str, list[str]]:
        def landed() -> bool:
            if ["tool", "pending"] in self.ask("asked", swarm=swarm):
                self.ask("approve", swarm=swarm)
            return self.ask("state", swarm=swarm) == "succeeded"

        self.until(landed)
        self.has_worked = True
        self.ask("book_unheard")
        faults = self.settles(lambda: list(self.ask("faults", swarm=swarm)))
        ended: list[Any] = self.ask("works_of", swarm=swarm)
        *lost, last = ended
        if [each[0] for each in lost] not in ([], ["lost"]) or last[0] != "succeeded":
            faults.append(f"the attempts ended as {ended}")
        if cell.file not in last[1]:
            faults.append(f"{cell.file} has not landed")
        if lost and (cell.phase, cell.victims) in UNTOUCHED:
            faults.append(f"an attempt was lost that nobody touched: {ended}")
        if cell.phase in AFTER_WRITING and any(cell.file not in files for _, files in lost):
            faults.append(f"the work of the lost attempt is not on its branch: {ended}")
        return "lost, done by the next" if lost else "went on", faults

    def server(self) -> int:
        """OpenCode's server, which is there."""
        found = server_of(self.runner)
        assert found, "there is no server"
        return found

    def spare(self) -> int:
        """The server that waits for the next attempt, as soon as it can be had."""
        if not self.has_worked:
            first = Cell("none", f"before-{len(self.cells)}")
            self.cells[first.word] = first
            swarm = self.state_goal(first)
            self.until(lambda: self.ask("state", swarm=swarm) == "succeeded")
            self.has_worked = True
        return int(self.until(lambda: self.ask("spares") and next(self._idle(), 0)))

    def _idle(self) -> Iterator[int]:
        """Servers in whose folders there is no work."""
        for pid in processes_of(self.runner, is_server):
            with suppress(FileNotFoundError):
                mounts = Path(f"/proc/{pid}/mountinfo").read_text()
                found = re.search(f"{re.escape(str(self.runner))}/([^/ ]+)", mounts)
                if found and not (self.runner / found[1] / "work" / ".git").exists():
                    yield pid

    def state_goal(self, cell: Cell) -> str:
        return str(self.ask("state_plan", project=self.project, plan=cell.plan))

    @contextmanager
    def held(self, where: str) -> Iterator[Callable[[], None]]:
        """While the block lasts the runner's git waits there; gives what waits until it does."""
        hold, mark = self._holds / where, self._holds / f"{where}.held"
        hold.touch()
        try:
            yield lambda: self.until(mark.exists)
        finally:
            hold.unlink(missing_ok=True)
            mark.unlink(missing_ok=True)

    def freeze(self) -> None:
        """Stops OpenCode's server as soon as it is there."""
        self.until(lambda: server_of(self.runner))
        os.kill(self.server(), signal.SIGSTOP)

    def child(self) -> int:
        """The process of the attempt: the runner's grandchild, from which the server descends."""
        line = [self.server()]
        while line[-1] != self.processes["runner"].pid:
            line.append(parent_of(line[-1]))
        return line[-3]

    def count(self, table: str) -> int:
        """How many rows the database of the server that works now has in a table."""
        # Folders come and go meanwhile, which a glob does not bear.
        found = (Path(folder, "opencode.db") for folder, _, files in os.walk(self.runner) if "opencode.db" in files)
        for path in (one for one in found if "scratch" in one.parts):
            try:
                with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=0.1)) as database:
                    return int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
            except sqlite3.OperationalError:  # not there yet
                continue
        return 0
