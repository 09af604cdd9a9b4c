"""Which programs make a platform, and what each of them may know."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from config.env import PROJECT_ROOT

# What any program needs from the environment of `make up`; nothing else is passed on unasked.
# fmt: off
PLAIN = frozenset({
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "NO_COLOR",
    "VIRTUAL_ENV", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
    "http_proxy", "https_proxy", "no_proxy",
})
# fmt: on
CONTROL_PREFIX = "WAGGLE_"
RUNNER_PREFIX = "WAGGLE_RUNNER_"
PLATFORM_MARK = "WAGGLE_PLATFORM"
LOCAL = ("SOURCES", "WEBHOOKS", "SERVERS", "PROVIDERS")


@dataclass(frozen=True)
class Program:
    """One process of the platform: its name, command and whole environment."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Site:
    """What the programs of one platform share."""

    root: Path
    port: int
    database_url: str
    redis_url: str
    mark: str
    """A word of this start, in the environment of all its processes, by which remains are found."""
    rehearsal_port: int | None
    """Where the rehearsal model listens; None when a real model is set."""

    @property
    def token_file(self) -> Path:
        """Where the local runner's token lies."""
        return self.root / "secrets" / "runner.token"


def common(site: Site, environ: Mapping[str, str]) -> dict[str, str]:
    """Environment that every program gets."""
    kept = {name: value for name, value in environ.items() if name in PLAIN and value}
    return kept | {
        "PYTHONUNBUFFERED": "1",
        "WAGGLE_LOG_FORMAT": environ.get("WAGGLE_LOG_FORMAT") or "console",
        PLATFORM_MARK: site.mark,
    }


def control(site: Site, environ: Mapping[str, str]) -> dict[str, str]:
    """Environment of the control plane: databases, model, everything that is ours."""
    kept = {
        name: value
        for name, value in environ.items()
        if name.startswith(CONTROL_PREFIX) and not name.startswith(RUNNER_PREFIX) and value
    }
    # On one's own machine, a folder is a fine source of a project, a program of one's own a fine receiver of webhooks,
    # and a server of one's own a fine server; a server's settings say no by default.
    local = dict.fromkeys((f"WAGGLE_LOCAL_{what}" for what in LOCAL), "1")
    found = local | kept | common(site, environ)
    found |= {
        "DJANGO_SETTINGS_MODULE": environ.get("DJANGO_SETTINGS_MODULE") or "config.settings",
        "DATABASE_URL": site.database_url,
        "REDIS_URL": site.redis_url,
        "WAGGLE_DATA_DIR": str(site.root),
        "WAGGLE_PORT": str(site.port),
    }
    if site.rehearsal_port is not None:
        found |= {
            "WAGGLE_MODEL_BASE_URL": f"http://127.0.0.1:{site.rehearsal_port}/v1",
            "WAGGLE_MODEL_NAME": "rehearsal",
            "WAGGLE_MODEL_REHEARSAL": "1",
        }
    return found


def runner(site: Site, environ: Mapping[str, str]) -> dict[str, str]:
    """Environment of the runner: an address and a token, and nothing of the databases or other secrets."""
    kept = {
        name: value
        for name, value in environ.items()
        if name.startswith(RUNNER_PREFIX) and name != "WAGGLE_RUNNER_TOKEN" and value
    }
    defaults = {
        "WAGGLE_RUNNER_NAME": "local",
        "WAGGLE_RUNNER_DRAIN_SECONDS": "0",  # all ends together: nobody would hear of a result
        "WAGGLE_RUNNER_DIR": str(site.root / "runner"),
        "WAGGLE_RUNNER_OPENCODE": str(site.root / "tools"),
    }
    given = {"WAGGLE_URL": f"http://127.0.0.1:{site.port}", "WAGGLE_RUNNER_TOKEN_FILE": str(site.token_file)}
    return defaults | kept | given | common(site, environ)


def manage(*arguments: str) -> tuple[str, ...]:
    """Command line of a management command."""
    return (sys.executable, str(PROJECT_ROOT / "manage.py"), *arguments)


def programs(site: Site, environ: Mapping[str, str]) -> list[Program]:
    """The processes of a platform in the order in which they are started."""
    ours = control(site, environ)
    loopback = ("--host", "127.0.0.1")
    found = []
    if site.rehearsal_port is not None:
        command = _module("uvicorn", "agents.rehearsal.app:application", *loopback)
        found.append(Program("rehearsal", (*command, "--port", str(site.rehearsal_port)), common(site, environ)))
    web = _module("uvicorn", "config.asgi:application", *loopback, "--port", str(site.port))
    worker = _module("dramatiq", "config.worker", "--processes", "1", "--threads", "4")
    return [
        *found,
        Program("web", (*web, "--timeout-graceful-shutdown", "10"), ours),
        Program("worker", worker, ours),
        Program("ticker", manage("ticker"), ours),
        Program("runner", _module("agents.runner"), runner(site, environ)),
        Program("discover", manage("discover"), ours),
    ]


def _module(name: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", name, *arguments)
