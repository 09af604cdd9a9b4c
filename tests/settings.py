"""Settings of the tests: databases of their own (unless DATABASE_URL, REDIS_URL name others), no real broker."""

import atexit
import fcntl
import os
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import IO, Any
from unittest.mock import patch

_ROOT = Path(__file__).resolve().parent.parent


def _slots() -> Iterator[Path]:
    """Data folders, so that runs at the same time do not meet."""
    for number in count():
        yield _ROOT / "var" / "test" / str(number)


def _claim() -> tuple[Path, IO[str]]:
    for folder in _slots():
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "claimed").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        return folder, lock
    raise AssertionError("there is always a next number")


# Tests start hundreds of processes. Without the bytecode that the first one leaves, each compiles all modules again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# This module is read before any conftest.py, and config.settings reads these variables when it is imported.
DATA_FOLDER, _lock = _claim()
(DATA_FOLDER / "static").mkdir(exist_ok=True)
# Where `make test-tools` puts programs: one place for all processes that take tests, which inherit this.
os.environ.setdefault("WAGGLE_TEST_TOOLS", str(Path(os.environ.get("WAGGLE_DATA_DIR") or _ROOT / "var") / "tools"))
os.environ["WAGGLE_DATA_DIR"] = str(DATA_FOLDER)
for _name in ("WAGGLE_MODEL_BASE_URL", "WAGGLE_MODEL_API_KEY", "WAGGLE_MODEL_NAME", "WAGGLE_PUBLIC_URL"):
    # A developer's .env must not reach the tests: they would talk to a real model.
    os.environ[_name] = ""
os.environ["WAGGLE_HOST"], os.environ["WAGGLE_PORT"] = "waggle.localhost", "8000"

from config.services import ensure, postgres, stop  # noqa: E402

_missing = {"DATABASE_URL": "postgres", "REDIS_URL": "valkey"}
if _worker := os.environ.get("PYTEST_XDIST_WORKER"):
    # What the process that hands out the tests has started is its own.
    for _name in os.environ.pop("WAGGLE_TEST_STARTED", "").split():
        del os.environ[_name]
# Its rows need not outlive the machine. Tests that end a Postgres start one of their own, with the usual settings.
_careless = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
if _own := tuple(service for name, service in _missing.items() if not os.environ.get(name)):
    with patch.dict(postgres.SETTINGS, _careless):
        os.environ |= ensure(DATA_FOLDER, only=_own, bound=True)
    os.environ["WAGGLE_TEST_STARTED"] = " ".join(name for name in _missing if _missing[name] in _own)
    atexit.register(stop, DATA_FOLDER)

from config.settings import *  # noqa: E402, F403
from config.settings import DATABASES, DRAMATIQ_BROKER  # noqa: E402

if _worker:
    _default: dict[str, Any] = DATABASES["default"]
    _default["TEST"] = {"NAME": f"test_{DATABASES['default']['NAME']}_{_worker}"}

# Each client of Django's would look through all files of all pages: 15 ms.
WHITENOISE_AUTOREFRESH = True
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DRAMATIQ_BROKER = DRAMATIQ_BROKER | {"BROKER": "dramatiq.brokers.stub.StubBroker", "OPTIONS": {}}
