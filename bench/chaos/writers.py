"""A program that writes over HTTP without a pause, and keeps account of what it was told."""

import threading
import time
from itertools import count
from typing import Any
from uuid import UUID

import httpx

from bench.chaos.samples import Samples

PAUSE_SECONDS = 0.2
TEXT = "Add a word count."


class Writers:
    """States goals, changes their priority and cancels them. A context manager: it writes while it is open.

    With `insists` it only states goals, each with the same `Idempotency-Key` until it is told a success.
    """

    def __init__(self, samples: Samples, port: int, *, insists: bool = False) -> None:
        self._project = samples.writing
        slug = samples.slug
        self._client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}/t/{slug}/api/v1",
            headers={"Authorization": f"Bearer {samples.secret}"},
            timeout=30,
        )
        self._insists = insists
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write, name="writers", daemon=True)
        self.made = self.failed = 0
        self.slowest = 0.0
        self.acknowledged: dict[str, UUID] = {}
        """Idempotency key to the swarm that the answer named."""

    def __enter__(self) -> "Writers":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join(90)
        self._client.close()

    def _write(self) -> None:
        for number in count():
            if self._over.wait(PAUSE_SECONDS):
                return
            key = f"{id(self)}-{number}"
            stated = self._post(f"/projects/{self._project}/goals", {"text": TEXT}, {"Idempotency-Key": key})
            if stated is None:
                continue
            self.acknowledged[key] = UUID(stated["id"])
            if not self._insists:
                self._post(f"/swarms/{stated['id']}/priority", {"priority": 1})
                self._post(f"/swarms/{stated['id']}/cancel", {})

    def _post(self, path: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> dict[str, Any] | None:
        """The answer; None when there was none that is a success."""
        while not self._over.is_set():
            began = time.monotonic()
            told = self._try(path, body, headers or {})
            self.slowest = max(self.slowest, time.monotonic() - began)
            if isinstance(told, dict):
                self.made += 1
                return told
            self.failed += 1
            if not self._insists:
                print(f"a write over HTTP failed: {path}: {told}", flush=True)
                return None
            time.sleep(PAUSE_SECONDS)
        return None

    def _try(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> dict[str, Any] | str:
        try:
            answer = self._client.post(path, json=body, headers=headers)
        except httpx.TransportError as error:
            return repr(error)
        if not answer.is_success:
            return f"HTTP {answer.status_code}: {answer.text[:200]}"
        told: dict[str, Any] = answer.json()
        return told
