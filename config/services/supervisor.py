"""The whole platform as one thing that is started, waited for and stopped."""

import fcntl
import http.client
import os
import signal
import threading
import time
import uuid
from pathlib import Path
from typing import IO

from django.core.exceptions import ImproperlyConfigured

from config.env import env, env_int, env_url
from config.services import embedded
from config.services.launch import StartFailed, tail
from config.services.layout import (
    Layout,
    data_dir,
    embedded_urls,
    external_database,
    external_redis,
    read_json,
    write_json,
)
from config.services.marks import Mark, stop_all, with_variable
from config.services.ports import free_port, is_free
from config.services.prepare import check_reachable, prepare
from config.services.processes import Process, Sink
from config.services.programs import PLATFORM_MARK, Site, control, programs

# A bit longer than the web process gives its open streams.
STOP_SECONDS = 12.0
LOOK_SECONDS = 0.5


class AlreadyRuns(StartFailed):
    """Another supervisor holds this data folder."""


class Platform:
    """All processes of one data folder: databases, web, worker, ticker, runner, discover, rehearsal.

    `port` is where web listens (default WAGGLE_PORT, 8000); `sink` gets every line of output.
    What `start` starts is bound to the calling thread: when that ends, however it ends, they end too.
    """

    def __init__(self, root: Path | None = None, *, port: int | None = None, sink: Sink | None = None) -> None:
        self.layout = Layout(root or data_dir())
        self.joined = False
        self._port = port or env_int("WAGGLE_PORT", 8000, minimum=1, maximum=65535)
        self._sink: Sink = sink or (lambda name, line: None)
        self._processes: list[Process] = []
        self._lock: IO[str] | None = None
        self._site: Site | None = None
        self._own: tuple[str, ...] = ()
        self._stopping, self._down = threading.Event(), threading.Event()
        self._recording = threading.Lock()
        self.failed: str | None = None
        """Why the platform cannot go on, once that is so."""

    @property
    def port(self) -> int:
        """Port of the web process."""
        return int(read_json(self.layout.platform).get("port", self._port)) if self.joined else self._port

    @property
    def url(self) -> str:
        """Address for people's browsers."""
        host = env("WAGGLE_HOST", "waggle.localhost")
        given = env_url("WAGGLE_PUBLIC_URL", ("http", "https"), "https://waggle.example")
        return given or f"http://{host}:{self.port}"

    def pids(self) -> dict[str, int]:
        """Living processes by name, of a joined platform too, with the embedded databases."""
        recorded = read_json(self.layout.platform).get("processes", {})
        marks = {name: Mark.parse(record) for name, record in recorded.items()}
        return {name: mark.pid for name, mark in marks.items() if mark.alive()} | {
            name: mark.pid for name, mark in embedded.marks(self.layout.root).items()
        }

    def environment(self) -> dict[str, str]:
        """Environment of a management command that belongs to this platform, started or joined.

        Raises StartFailed when the platform does not run.
        """
        record = read_json(self.layout.platform)
        urls = embedded_urls(self.layout.root) or {}
        database = external_database() or urls.get("DATABASE_URL")
        cache = external_redis() or urls.get("REDIS_URL")
        if not record or not database or not cache:
            raise StartFailed(f"Waggle does not run in {self.layout.root}. Start it with `make up`.")
        site = Site(self.layout.root, self.port, database, cache, record["mark"], record["rehearsal_port"])
        return control(site, os.environ)

    def hold(self) -> None:
        """Keep everybody else from starting a platform here. Raises AlreadyRuns."""
        self.layout.create()
        self._take_lock()

    def start(self) -> None:
        """Start everything; what an earlier supervisor left behind is ended first.

        Raises AlreadyRuns, StartFailed or ImproperlyConfigured, after stopping what was begun.
        """
        self.hold()
        try:
            self._sweep()
            if not is_free(self._port):
                raise StartFailed(
                    f"Port {self._port} on 127.0.0.1 is taken by another program. Stop that program, "
                    f"or choose another port, for example WAGGLE_PORT={self._port + 10}."
                )
            self._begin()
        except BaseException:
            self.stop()
            raise

    def wait_ready(self, seconds: float = 90.0) -> None:
        """Return when the web process says that it is ready. Raises StartFailed with the end of its log."""
        deadline = time.monotonic() + seconds
        while (answer := self._readiness()) != "ready":
            if self.failed:
                raise StartFailed(self.failed)
            if time.monotonic() > deadline:
                log = self.layout.log / "web.log"
                raise StartFailed(
                    f"The web process was not ready after {seconds:.0f} s ({answer}). "
                    f"The end of {log}:\n{tail(log, 15)}"
                )
            time.sleep(0.1)

    def join_or_start(self) -> bool:
        """Join the platform that runs in this data folder, or start one. True when it was joined."""
        try:
            self.start()
        except AlreadyRuns:
            self.joined = True
        return self.joined

    def stop(self) -> None:
        """Stop everything that `start` started, databases last. A joined platform goes on."""
        if self._lock is None:
            return
        self._stopping.set()
        for process in self._processes:
            process.ask_to_stop()
        deadline = time.monotonic() + STOP_SECONDS
        for process in self._processes:
            process.join(max(0.0, deadline - time.monotonic()))
        for process in self._processes:
            process.kill()
            process.join(5)
        self._sweep()
        embedded.stop(self.layout.root, only_bound=True)
        self._down.set()
        self.layout.platform.unlink(missing_ok=True)
        self._lock.close()
        self._lock = None

    def _begin(self) -> None:
        urls = {"DATABASE_URL": external_database(), "REDIS_URL": external_redis()}
        self._own = tuple(name for name, spec in embedded.SERVICES.items() if not urls[spec[1]])
        started = embedded.ensure(self.layout.root, only=self._own, bound=True)
        model = env_url("WAGGLE_MODEL_BASE_URL", ("http", "https"), "https://api.example/v1")
        self._site = Site(
            root=self.layout.root,
            port=self._port,
            database_url=urls["DATABASE_URL"] or started["DATABASE_URL"],
            redis_url=urls["REDIS_URL"] or started["REDIS_URL"],
            mark=uuid.uuid4().hex,
            rehearsal_port=None if model else free_port(),
        )
        self._record()
        check_reachable(self._site)
        prepare(self.layout, self._site, os.environ, lambda line: self._sink("up", line))
        for program in programs(self._site, os.environ):
            log = self.layout.log / f"{program.name}.log"
            self._processes.append(Process(program, log, self._sink, self._record))
        for process in self._processes:
            process.start()
        threading.Thread(target=self._watch_databases, name="watch-databases", daemon=True).start()

    def _take_lock(self) -> None:
        lock = (self.layout.run / "lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            record = read_json(self.layout.platform)
            mark = Mark.parse(record.get("supervisor"))
            where = f"at {record['url']} (pid {mark.pid})" if mark.alive() else "and starts or stops just now"
            raise AlreadyRuns(
                f"Waggle already runs in {self.layout.root} {where}. Stop it with Ctrl-C there."
            ) from None
        self._lock = lock

    def _record(self) -> None:
        assert self._site is not None
        with self._recording:
            living = {process.program.name: process.mark for process in self._processes}
            record = {
                "supervisor": Mark.of(os.getpid()).record(),
                "mark": self._site.mark,
                "port": self._port,
                "rehearsal_port": self._site.rehearsal_port,
                "url": self.url,
                "processes": {name: mark.record() for name, mark in living.items() if mark},
            }
            write_json(self.layout.platform, record)

    def _sweep(self) -> None:
        """End what is left of the recorded platform: processes of a killed supervisor, or their children."""
        record = read_json(self.layout.platform)
        if not record:
            return
        left = {Mark.parse(process) for process in record.get("processes", {}).values()}
        left |= set(with_variable(PLATFORM_MARK, record["mark"]))
        # They are on their way down already when their supervisor was killed.
        stop_all(left, signal.SIGTERM, STOP_SECONDS)
        # Whoever they started meanwhile.
        stop_all(with_variable(PLATFORM_MARK, record["mark"]), signal.SIGKILL, 5)

    def _watch_databases(self) -> None:
        """Start embedded databases again when they die, and stay while what was started here is needed."""
        while not self.failed and not self._stopping.wait(LOOK_SECONDS):
            self.failed = self._mend_databases()
        self._down.wait()

    def _mend_databases(self) -> str | None:
        assert self._site is not None
        known = {"DATABASE_URL": self._site.database_url, "REDIS_URL": self._site.redis_url}
        gone = [name for name in self._own if name not in embedded.marks(self.layout.root)]
        if not gone:
            return None
        self._sink("up", f"{' and '.join(gone)} ended; starting again")
        try:
            found = embedded.ensure(self.layout.root, only=gone, bound=True)
        except (StartFailed, ImproperlyConfigured, OSError) as error:
            return str(error)
        if any(known[name] != url for name, url in found.items()):
            # All processes were told the old one.
            return "A database had to move to another port. Start Waggle again."
        return None

    def _readiness(self) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/readyz", headers={"Host": env("WAGGLE_HOST", "waggle.localhost")})
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace").strip()
        except (OSError, http.client.HTTPException) as error:
            return str(error)
        finally:
            connection.close()
        return "ready" if answer.status == 200 else f"{answer.status} {text}"
