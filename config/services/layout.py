"""Where the files of a running platform lie, and whether we may use them.

The data folder (`WAGGLE_DATA_DIR`, by default `var/` in the project) holds the embedded databases,
generated secrets, logs and the record of what runs.
"""

import json
import os
import pwd
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from django.core.exceptions import ImproperlyConfigured

from config.env import PROJECT_ROOT, env, env_url
from config.services.marks import Mark

DATABASE_EXAMPLE = "postgresql://waggle:secret@db.example:5432/waggle"
REDIS_EXAMPLE = "redis://:secret@redis.example:6379"


@dataclass(frozen=True)
class Layout:
    """Names of the files in one data folder."""

    root: Path

    NAMES: ClassVar = (
        "postgres", "postgres.new", "postgres.new.password", "valkey", "repos", "sample", "runner", "artifacts",
        "log", "run", "secrets", "ports.json", "prepared.json", "static",
    )  # fmt: skip
    """Everything that a reset deletes; other files in the folder are not ours."""

    @property
    def postgres(self) -> Path:
        """Data of the embedded Postgres."""
        return self.root / "postgres"

    @property
    def valkey(self) -> Path:
        """Data of the embedded Valkey."""
        return self.root / "valkey"

    @property
    def run(self) -> Path:
        """What runs now: locks and records of processes."""
        return self.root / "run"

    @property
    def log(self) -> Path:
        """One log file per process."""
        return self.root / "log"

    @property
    def secrets(self) -> Path:
        """Generated passwords and tokens."""
        return self.root / "secrets"

    @property
    def ports(self) -> Path:
        """Ports of the embedded services, kept from start to start."""
        return self.root / "ports.json"

    @property
    def services(self) -> Path:
        """Addresses and processes of the embedded services."""
        return self.run / "services.json"

    @property
    def platform(self) -> Path:
        """Address and processes of the running platform."""
        return self.run / "platform.json"

    @property
    def prepared(self) -> Path:
        """Hashes of the migrations that the database was made with."""
        return self.root / "prepared.json"

    def create(self) -> "Layout":
        """Make the folders, closed to others. Raises ImproperlyConfigured when we may not."""
        check_owner(self.root)
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.log, self.run, self.secrets):
                folder.mkdir(mode=0o700, exist_ok=True)
            (self.root / "static").mkdir(exist_ok=True)
        except OSError as error:
            raise ImproperlyConfigured(
                f"The data folder {self.root} cannot be written: {error.strerror}. {_remedy(self.root)}"
            ) from error
        return self


def data_dir() -> Path:
    """The data folder as an absolute path; a relative WAGGLE_DATA_DIR counts from the project's root."""
    return (PROJECT_ROOT / Path(env("WAGGLE_DATA_DIR", "var")).expanduser()).resolve()


def check_owner(root: Path) -> None:
    """Refuse a data folder that belongs to someone else, before anything is written into it.

    Raises ImproperlyConfigured with the path, its owner and the remedy.
    """
    layout = Layout(root)
    for path in [root, layout.postgres, layout.valkey, layout.ports, layout.prepared, *_content(layout)]:
        try:
            owner = path.lstat().st_uid
        except FileNotFoundError:
            continue
        except PermissionError:
            raise ImproperlyConfigured(f"{path} is closed to this user. {_remedy(root)}") from None
        # Root without user namespaces lets an ordinary account own the database's files.
        if owner != os.geteuid() and not (path == layout.postgres and os.geteuid() == 0):
            you = account_name(os.geteuid())
            raise ImproperlyConfigured(f"{path} belongs to {account_name(owner)}, but you are {you}. {_remedy(root)}")
    existing = next(parent for parent in [root, *root.parents] if os.path.lexists(parent))
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ImproperlyConfigured(f"{existing} cannot be written by this user. {_remedy(root)}")


def _content(layout: Layout) -> list[Path]:
    found: list[Path] = []
    for folder in (layout.run, layout.log, layout.secrets):
        found.append(folder)
        if folder.is_dir() and os.access(folder, os.R_OK | os.X_OK):
            found.extend(folder.iterdir())
    return found


def _remedy(root: Path) -> str:
    return (
        "Use a folder of your own, for example WAGGLE_DATA_DIR=~/waggle-data make demo, "
        f"or take this one over: sudo chown -R {account_name(os.geteuid())} {root}"
    )


def account_name(uid: int) -> str:
    """Name of a user, or its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def external_database() -> str | None:
    """DATABASE_URL from the environment. Raises ImproperlyConfigured when it is not a Postgres address."""
    return env_url("DATABASE_URL", ("postgresql", "postgres"), DATABASE_EXAMPLE)


def external_redis() -> str | None:
    """REDIS_URL from the environment. Raises ImproperlyConfigured when it is not a Redis address."""
    return env_url("REDIS_URL", ("redis", "rediss"), REDIS_EXAMPLE)


def embedded_urls(root: Path) -> dict[str, str] | None:
    """Addresses of the embedded services that run now (DATABASE_URL, REDIS_URL); None when none runs."""
    record = read_json(Layout(root).services)
    names = {"postgres": "DATABASE_URL", "valkey": "REDIS_URL"}
    urls = {
        variable: str(record[variable])
        for service, variable in names.items()
        if variable in record and Mark.parse(record.get(service)).alive()
    }
    return urls or None


def local_secret(root: Path, name: str) -> str:
    """A generated secret (43 characters) that is kept in the data folder, mode 0600.

    Raises ImproperlyConfigured when the data folder cannot be used.
    """
    path = Layout(root).secrets / name
    if not path.exists():
        Layout(root).create()
        write_private(path, secrets.token_urlsafe(32) + "\n", replace=False)
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ImproperlyConfigured(f"{path} cannot be read: {error.strerror}. {_remedy(root)}") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty when there is no such file."""
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except PermissionError:
        raise ImproperlyConfigured(f"{path} cannot be read by this user. {_remedy(path.parent)}") from None
    except ValueError as error:
        raise ImproperlyConfigured(f"{path} is damaged ({error}). Remove the file.") from error
    if not isinstance(loaded, dict):
        raise ImproperlyConfigured(f"{path} is damaged (no object in it). Remove the file.")
    return loaded


def write_json(path: Path, content: dict[str, Any]) -> None:
    """`write_private` for a JSON object."""
    write_private(path, json.dumps(content, indent=1, sort_keys=True) + "\n")


def write_private(path: Path, content: str, *, replace: bool = True) -> None:
    """Write a file of mode 0600 so that readers see old or new content, never half of one.

    With `replace=False` a file that is there already wins, whoever wrote it.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(temporary, path)
        elif not path.exists():
            os.link(temporary, path)
    except FileExistsError:
        return
    finally:
        Path(temporary).unlink(missing_ok=True)
