"""The processes under test, and the network between them."""

import os
import signal
import socket
from collections.abc import Iterator
from functools import partial
from urllib.parse import urlsplit

from bench.chaos.proxy import Network, Proxy
from bench.stage import Stage, descendants, wait_for
from config.services.embedded import marks
from config.services.marks import command_of, wait_gone, with_variable
from config.services.ports import free_port

WORKERS = ("worker-0", "worker-1", "worker-2")
WEBS = ("web-0", "web-1")
RUNNERS = ("runner-0", "runner-1")
TICKER, MODEL = "ticker", "rehearsal"
MUTE = "worker-mute"
"""A worker of which every message gets lost. It sleeps but for one act."""
REMAINS_SECONDS = 15.0
_UVICORN = ("-m", "uvicorn", "--host", "127.0.0.1", "--port")
_READY = {"worker": "is ready for action", "ticker": "ticker leads", "runner": "linked to the control plane"}


def kind_of(name: str) -> str:
    """worker, ticker, web or runner."""
    return name.partition("-")[0]


class Platform:
    """Starts, finds and ends processes by name. Each has the network that belongs to its kind.

    Workers reach Postgres through a proxy each, and Valkey through one that they share; runners and their children
    reach any of the web processes through one. All others have straight ways.
    """

    def __init__(self, at: Stage) -> None:
        self.at = at
        self.environment = at.environment
        network = Network()
        self.web_ports = {name: free_port() for name in WEBS}
        self.postgres = {name: network.proxy(_port(self.environment["DATABASE_URL"])) for name in WORKERS}
        self.valkey = network.proxy(_port(self.environment["REDIS_URL"]))
        self.web = network.proxy(*self.web_ports.values())
        self.environment["WAGGLE_INTERNAL_URL"] = f"http://127.0.0.1:{self.web.port}"
        self.tokens: dict[str, str] = {}
        self._began: dict[str, int] = {}
        self._trees: dict[str, list[int]] = {}

    def start(self, *names: str) -> None:
        """Start processes."""
        for name in names:
            log = self.at.folder / f"{name}.log"
            self._began[name] = log.stat().st_size if log.exists() else 0
            self._trees.pop(name, None)
            self.at.start(name, *self._command(name), **self._variables(name))

    def _command(self, name: str) -> tuple[str, ...]:
        match kind_of(name):
            case "worker":
                module = "bench.chaos.muteworker" if name == MUTE else "config.worker"
                return ("-m", "dramatiq", module, "--processes", "1", "--threads", "4")
            case "ticker":
                return ("manage.py", "ticker")
            case "web":
                return (*_UVICORN, str(self.web_ports[name]), "config.asgi:application")
            case "runner":
                return ("-m", "agents.runner")
            case _:
                port = urlsplit(self.environment["WAGGLE_MODEL_BASE_URL"]).port
                return (*_UVICORN, str(port), "agents.rehearsal.app:application")

    def _variables(self, name: str) -> dict[str, str]:
        match kind_of(name):
            case "worker" if name in WORKERS:
                return {
                    "DATABASE_URL": _through(self.environment["DATABASE_URL"], self.postgres[name]),
                    "REDIS_URL": _through(self.environment["REDIS_URL"], self.valkey),
                    "PGAPPNAME": name,  # by which the database tells whose connection is whose
                }
            case "runner":
                return {
                    "WAGGLE_URL": self.environment["WAGGLE_INTERNAL_URL"],
                    "WAGGLE_RUNNER_NAME": name,
                    "WAGGLE_RUNNER_TOKEN": self.tokens[name],
                    "WAGGLE_RUNNER_DIR": str(self.at.folder / name),
                }
            case _:
                return {"PGAPPNAME": name}

    def ready(self, *names: str) -> None:
        """Wait until these processes do their work."""
        for name in names:
            wait_for(partial(self.is_ready, name), f"{name} does not start: {self.at.log(name)[-2000:]}")

    def is_ready(self, name: str) -> bool:
        """Whether a process that was started does its work."""
        if words := _READY.get(kind_of(name)):
            return words in self.said(name)
        port = self.web_ports.get(name) or urlsplit(self.environment["WAGGLE_MODEL_BASE_URL"]).port
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", int(port or 0))) == 0

    def said(self, name: str) -> str:
        """What a process has printed since it was started last."""
        with (self.at.folder / f"{name}.log").open("rb") as log:
            log.seek(self._began[name])
            return log.read().decode(errors="replace")

    def runs(self, name: str) -> bool:
        """Whether it was started and not ended."""
        return name in self.at.processes

    def tree(self, name: str) -> list[int]:
        """Its process, then all below it. A worker's are looked up once, so that it can be stopped at once."""
        if kind_of(name) != "worker" or name not in self._trees:
            root = self.at.processes[name].pid
            self._trees[name] = [root, *(descendants([root]) - {root})]
        return self._trees[name]

    def stop(self, name: str) -> list[int]:
        """SIGSTOP of a process and all below it. Returns the pids, for `go_on`."""
        pids = self.tree(name)
        _signal(pids, signal.SIGSTOP)
        return pids

    def kill(self, *names: str) -> None:
        """kill -9. A runner's children are left alone: they must end by themselves."""
        for name in names:
            pids = [self.at.processes[name].pid] if kind_of(name) == "runner" else self.tree(name)
            process = self.at.processes.pop(name)
            _signal(pids, signal.SIGKILL)
            process.wait()

    def close(self) -> None:
        """End all that still runs, also what was stopped and would not hear a word."""
        self.kill(*[name for name in self.at.processes if name == MUTE])
        for name in self.at.processes:
            go_on(self.tree(name))
        self.at.end()

    def remains(self) -> list[str]:
        """Commands of processes of the platform that still run a while after `close`, without its databases."""
        databases = descendants([mark.pid for mark in marks(self.at.folder).values()])
        ours = [mark for mark in with_variable("WAGGLE_DATA_DIR", str(self.at.folder)) if mark.pid not in databases]
        wait_gone(ours, REMAINS_SECONDS)
        return [command_of(mark.pid) for mark in ours if mark.alive()]

    def logs(self, kind: str) -> Iterator[str]:
        """All lines that processes of a kind have printed."""
        for path in sorted(self.at.folder.glob(f"{kind}*.log")):
            yield from path.read_text(errors="replace").splitlines()


def go_on(pids: list[int]) -> None:
    """SIGCONT of processes that were stopped."""
    _signal(pids, signal.SIGCONT)


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue  # it went with its parent


def _port(url: str) -> int:
    return int(urlsplit(url).port or 0)


def _through(url: str, proxy: Proxy) -> str:
    """The same address, by way of a proxy."""
    return url.replace(f":{_port(url)}", f":{proxy.port}")
