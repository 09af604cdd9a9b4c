"""What the runner reads from its environment. It gets no address of a database, and needs none."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from socket import gethostname
from urllib.parse import urlsplit

LOOPBACK = IPv4Address("127.0.0.1")


class SettingsError(Exception):
    """A variable is missing or wrong; the message names it and gives an example."""


@dataclass(frozen=True)
class RunnerSettings:
    """Where the control plane is, who we are, how much we take on."""

    url: str
    token: str
    name: str
    capacity: int
    folder: Path
    log_format: str
    drain_seconds: float = 30
    """How long what goes on may still take when the runner is asked to stop."""
    keep_mb: int = 2048
    """Of work that is on no branch."""
    keep_days: float = 14
    ahead_mb: int = 2048
    """Of checkouts that are made ahead; 0: none are."""
    link: str = "auto"
    """auto: a websocket, and plain HTTP where none gets through; websocket or http: that alone."""
    unconfined: bool = False
    """Where no sandbox works, commands run without one."""

    warm_servers: int = 1
    """How many servers of OpenCode wait for an attempt, once one has wanted them."""
    address: IPv4Address | IPv6Address = LOOPBACK
    """Where enrolled servers reach this machine."""

    @property
    def link_url(self) -> str:
        """Address of the websocket to the control plane."""
        return self.url.replace("http", "ws", 1) + "/runner/"


def read(environment: Mapping[str, str]) -> RunnerSettings:
    """Reads and checks the settings. Raises SettingsError."""
    url = environment.get("WAGGLE_URL", "").rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(f"WAGGLE_URL is {url!r}; set it to the control plane's address, e.g. http://127.0.0.1:8000")
    log_format = environment.get("WAGGLE_LOG_FORMAT") or "json"
    if log_format not in ("json", "console"):
        raise SettingsError(f"WAGGLE_LOG_FORMAT is {log_format!r}; set it to json or console.")
    link = environment.get("WAGGLE_RUNNER_LINK") or "auto"
    if link not in ("auto", "websocket", "http"):
        raise SettingsError(f"WAGGLE_RUNNER_LINK is {link!r}; set it to auto, websocket or http.")
    return RunnerSettings(
        url=url,
        token=_token(environment),
        name=(environment.get("WAGGLE_RUNNER_NAME") or gethostname())[:80],
        capacity=env_number("WAGGLE_RUNNER_CAPACITY", environment, 4, least=1, most=1000),
        folder=Path(environment.get("WAGGLE_RUNNER_DIR") or "var/runner").absolute(),
        log_format=log_format,
        link=link,
        drain_seconds=env_number("WAGGLE_RUNNER_DRAIN_SECONDS", environment, 30, most=86_400),
        keep_mb=env_number("WAGGLE_RUNNER_KEEP_MB", environment, 2048, most=1 << 20),
        keep_days=env_number("WAGGLE_RUNNER_KEEP_DAYS", environment, 14, most=3650),
        ahead_mb=env_number("WAGGLE_RUNNER_AHEAD_MB", environment, 2048, most=1 << 20),
        warm_servers=env_number("WAGGLE_RUNNER_WARM_SERVERS", environment, 1, most=100),
        address=address(environment),
        unconfined=bool(env_number("WAGGLE_RUNNER_UNCONFINED", environment, 0, most=1)),
    )


def _token(environment: Mapping[str, str]) -> str:
    if token := environment.get("WAGGLE_RUNNER_TOKEN", "").strip():
        return token
    name = environment.get("WAGGLE_RUNNER_TOKEN_FILE", "")
    if not name:
        raise SettingsError(
            "WAGGLE_RUNNER_TOKEN_FILE is not set; point it to a file with the runner's token, "
            "made with `manage.py runner_token`, or set WAGGLE_RUNNER_TOKEN."
        )
    try:
        token = Path(name).read_text().strip()
    except OSError as error:
        raise SettingsError(f"WAGGLE_RUNNER_TOKEN_FILE is {name!r}, which cannot be read: {error.strerror}.") from error
    if not token:
        raise SettingsError(f"WAGGLE_RUNNER_TOKEN_FILE is {name!r}, which is empty; write a runner token to it.")
    return token


def address(environment: Mapping[str, str]) -> IPv4Address | IPv6Address:
    """The address of this machine at which enrolled servers reach what an attempt offers them. Raises SettingsError."""
    text = environment.get("WAGGLE_RUNNER_ADDRESS") or str(LOOPBACK)
    with suppress(ValueError):
        if not (found := ip_address(text)).is_unspecified:
            return found
    raise SettingsError(f"WAGGLE_RUNNER_ADDRESS is {text!r}; set it to one address of this machine, e.g. 10.0.0.7.")


def env_number(name: str, environment: Mapping[str, str], default: int, *, least: int = 0, most: int) -> int:
    """A whole number within these limits. Raises SettingsError."""
    text = environment.get(name) or str(default)
    if not text.isdecimal() or not least <= int(text) <= most:
        raise SettingsError(f"{name} is {text!r}; set it to a number from {least} to {most}, e.g. {default}.")
    return int(text)
