"""`python -m bench.case AREA CASE FILE`: one case on a platform of its own; what it measured goes to FILE as JSON."""

import json
import logging
import os
import resource
import sys
import time
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.figures import quantile
from bench.stage import TICKS, Stage, stage

FSYNCS = 50


def main(area: str, case: str, into: Path) -> int:
    """Measure one case."""
    with stage() as at:
        # Models can be imported only now.
        module = import_module(f"bench.{area}.{case}")
        logging.disable(logging.CRITICAL)
        noise, began = Noise(at), time.monotonic()
        figures = module.measure(at)
        seconds = round(time.monotonic() - began, 1)
        told = {"seconds": seconds, "noise": noise.read(), "databases": _versions()}
    into.write_text(json.dumps(told | {"figures": {name: asdict(figure) for name, figure in figures.items()}}))
    return 0


class Noise:
    """What else the machine had to do while a case was measured."""

    def __init__(self, at: Stage) -> None:
        self._at = at
        self._load, self._fsync = os.getloadavg()[0], fsync_ms(at.folder)
        self._began, self._ours = _machine(), self._used()

    def read(self) -> dict[str, float]:
        """Load before, how long a small fsync took before, and the shares of CPU time that others, on this machine and
        beside it, had meanwhile."""
        busy, stolen, whole = (now - then for now, then in zip(_machine(), self._began, strict=True))
        others = busy - (self._used() - self._ours)
        return {
            "load_before": round(self._load, 2),
            "fsync_ms": round(self._fsync, 3),
            "others": round(max(0.0, others) / whole, 3),
            "stolen": round(stolen / whole, 3),
        }

    def _used(self) -> float:
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        return self._at.cpu() + time.process_time() + ended.ru_utime + ended.ru_stime


def _machine() -> tuple[float, float, float]:
    """CPU seconds of all cores so far: at work, taken by other machines on the same host, and all there were."""
    words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    user, nice, system, idle, waits, interrupts, soft, stolen = (int(word) / TICKS for word in words)
    busy = user + nice + system + interrupts + soft
    return busy, stolen, busy + stolen + idle + waits


def fsync_ms(folder: Path) -> float:
    """Median milliseconds of a write of 512 bytes that is on the disk when it returns."""
    took = []
    with (folder / "fsync").open("wb") as file:
        for _ in range(FSYNCS):
            began = time.perf_counter()
            os.pwrite(file.fileno(), b"x" * 512, 0)
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - began) * 1000)
    return quantile(took, 0.5)


def _versions() -> dict[str, Any]:
    """Of the databases that the platform used."""
    import redis
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        postgres = cursor.fetchone()[0]
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
        info: Any = client.info("server")
    return {"postgres": postgres, "valkey": info.get("valkey_version", info["redis_version"])}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
