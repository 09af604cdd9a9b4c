"""What an execution tells the control plane over HTTP: its transcript as it streams, and its outcome."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import IO, Any

import httpx
import structlog
from pydantic import BaseModel

from agents.contracts import (
    ArtifactKept,
    Assignment,
    Delta,
    Outcome,
    OutcomeReport,
    PartRecord,
    PermissionAsked,
    PermissionGiven,
    Record,
    RecordBatch,
)
from agents.runner.trust import trusted
from sessions import storable

log = structlog.get_logger(__name__)

FLUSH_SECONDS = 0.05
BATCH_RECORDS = 100
BATCH_BYTES = 1_000_000
PIECE = 1 << 18
"""Bytes of an artifact that are in memory at a time."""


class Stale(Exception):
    """The lease is gone: nobody wants anything from this execution any more."""


class Faults(Exception):
    """The outcome breaks its contract, or an artifact its limits; `faults` says how."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class Refused(Exception):
    """The control plane did not take a report for a reason that trying again does not mend."""


class Reports:
    """Reports of one execution. Records keep their order; `run()` must be running to send them by itself."""

    def __init__(
        self,
        assignment: Assignment,
        on_progress: Callable[[int], None] = lambda count: None,
        on_next: Callable[[Assignment], None] | None = None,
    ) -> None:
        """`on_next` takes what the runner shall do after this; without it the control plane is not asked."""
        self.assignment = assignment
        self.accepted = False
        """The control plane has taken an outcome; nothing can follow it."""
        self._patience = 3 * assignment.lease_seconds
        self._on_progress = on_progress
        self._on_next = on_next
        self._count = 0
        self._pending: list[Record] = []
        self._sending = 0
        self._lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {assignment.token}", "X-Waggle-Trace": assignment.trace},
            timeout=httpx.Timeout(30, connect=5),
            verify=trusted(),
            trust_env=False,
        )

    async def close(self) -> None:
        """Closes the connections; what is still pending is dropped."""
        await self._client.aclose()

    def record(self, *records: Record) -> None:
        """Takes records to be sent soon. What follows on what is still waiting is merged with it."""
        for record in map(_bounded, records):
            self._count += 1
            last = self._pending[-1] if len(self._pending) > self._sending else None
            if (merged := _merged(last, record)) is not None:
                self._pending[-1] = merged
            else:
                self._pending.append(record)
        self._on_progress(self._count)
        self._wake.set()

    async def run(self) -> None:
        """Sends records as they come, for ever. Raises Stale or Refused."""
        while True:
            await self._wake.wait()
            if len(self._pending) < BATCH_RECORDS:
                await asyncio.sleep(FLUSH_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Sends everything that waits. Raises Stale or Refused."""
        async with self._lock:
            self._wake.clear()
            while self._pending:
                batch = _batch(self._pending)
                self._sending = len(batch)
                try:
                    await self._post("records", RecordBatch(fence=self.assignment.fence, records=tuple(batch)))
                    del self._pending[: len(batch)]
                except Refused:
                    self._pending.clear()  # what follows is about what is missing then; an outcome may still be told
                    raise
                finally:
                    self._sending = 0

    async def outcome(self, outcome: Outcome) -> None:
        """Reports how the execution ended, after all records. Raises Stale, Faults or Refused."""
        await self.flush()
        report = OutcomeReport(fence=self.assignment.fence, outcome=outcome, takes_next=self._on_next is not None)
        answer = await self._post("outcome", report)
        self.accepted = True
        if self._on_next is not None and (follows := answer.get("next")):
            self._on_next(Assignment.model_validate(follows, extra="ignore"))

    async def permission(self, call: str, tool: str, arguments: Mapping[str, Any]) -> PermissionGiven:
        """What the team's rules say of a call, or a person has said so far. Raises Stale, Faults or Refused."""
        asked = PermissionAsked(fence=self.assignment.fence, call=call, tool=tool, arguments=dict(arguments))
        return PermissionGiven.model_validate(await self._post("permission", asked), extra="ignore")

    async def artifact(self, file: IO[bytes], *, name: str, media_type: str) -> ArtifactKept:
        """Sends a file, piece by piece, to be kept under a name. Raises Stale, Faults or Refused."""
        size = file.seek(0, 2)
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(size),
            "X-Waggle-Fence": str(self.assignment.fence),
        }
        words = {"name": name, "media_type": media_type}
        answer = await self._send("artifacts", lambda: _pieces(file, size), headers, words)
        return ArtifactKept.model_validate(answer, extra="ignore")

    async def _post(self, path: str, body: BaseModel) -> dict[str, Any]:
        """Posts JSON, as `_send` does."""
        content = _json(body)
        return await self._send(path, lambda: content, {"Content-Type": "application/json"})

    async def _send(
        self,
        path: str,
        content: Callable[[], str | AsyncIterator[bytes]],
        headers: Mapping[str, str],
        words: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Posts until it is answered, and returns the answer; gives up when the lease would surely be gone."""
        deadline = time.monotonic() + self._patience
        pause = 0.1
        while True:
            try:
                response = await self._client.post(
                    f"{self.assignment.url}/{path}",
                    content=content(),
                    headers=headers,
                    params=words,
                )
            except httpx.RequestError as error:
                trouble = f"{type(error).__name__}: {error}"
            else:
                if response.is_success and not _is_json(response):
                    trouble = "somebody on the way answered in its place"
                elif response.status_code < 500 and response.status_code != 429:
                    return _judge(response, path)
                else:
                    trouble = f"HTTP {response.status_code}"
            if time.monotonic() > deadline:
                raise Stale(f"The control plane could not be reached for {self._patience:.0f} s: {trouble}")
            log.warning("report not taken yet", path=path, trouble=trouble)
            await asyncio.sleep(pause * random.uniform(0.5, 1))
            pause = min(pause * 2, 3)


def _json(body: BaseModel) -> str:
    try:
        return body.model_dump_json()
    except ValueError:
        # Models say half of a pair of surrogates, which JSON has and UTF-8 has not.
        return json.dumps(storable.tree(body.model_dump()))


def _bounded(record: Record) -> Record:
    """What a model gives as arguments may be nested as deep as it likes."""
    if isinstance(record, PartRecord) and record.input:
        return record.model_copy(update={"input": storable.tree(record.input)})
    return record


def _judge(response: httpx.Response, path: str) -> dict[str, Any]:
    status = response.status_code
    if response.is_success:
        answer: dict[str, Any] = response.json()
        return answer
    if status in (401, 403, 409):
        raise Stale(f"The control plane answered {status}: the lease is gone.")
    # A proxy before the control plane may refuse a large body, too, and in its own words.
    if _is_json(response) and ((status == 422 and path != "records") or (status == 413 and path == "artifacts")):
        raise Faults([str(fault) for fault in response.json()["faults"]])
    raise Refused(f"The control plane refused {path} with HTTP {status}: {response.text[:500]}")


def _is_json(response: httpx.Response) -> bool:
    return response.headers.get("Content-Type", "").startswith("application/json")


async def _pieces(file: IO[bytes], size: int) -> AsyncIterator[bytes]:
    """So many bytes of a file, from its beginning: as many as were announced, though it may have grown."""
    file.seek(0)
    while size and (piece := await asyncio.to_thread(file.read, min(PIECE, size))):
        size -= len(piece)
        yield piece


def _merged(last: Record | None, new: Record) -> Record | None:
    """One record for two where the second continues or replaces the first."""
    if isinstance(last, Delta) and isinstance(new, Delta):
        if last.part == new.part and last.offset + len(last.text) == new.offset:
            return last.model_copy(update={"text": last.text + new.text})
    elif isinstance(last, PartRecord) and isinstance(new, PartRecord) and last.id == new.id:
        return new
    return None


def _batch(pending: list[Record]) -> list[Record]:
    """The first records that make a body of reasonable size; at least one."""
    size = 0
    for count, record in enumerate(pending[:BATCH_RECORDS]):
        size += 300 + sum(len(getattr(record, name, "")) for name in ("text", "output"))
        if isinstance(record, PartRecord):
            size += sum(len(str(value)) for value in record.input.values())
        if size > BATCH_BYTES and count:
            return pending[:count]
    return pending[:BATCH_RECORDS]
