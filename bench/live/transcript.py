"""A session of ten thousand parts: how soon its page shows, and how it takes two hundred parts a second more."""

import time
from uuid import uuid4

from playwright.sync_api import Page

from agents.contracts import MessageRecord, PartRecord
from bench.figures import Figures, tail, typical
from bench.live import boards, browser, scene
from bench.stage import Stage
from sessions import transcript
from sessions.models import Message, Part, Session
from tenants.context import in_schema
from tenants.models import Team

PARTS, PER_MESSAGE = 10_000, 8
RATE, BATCH, SECONDS, ROUNDS = 200, 10, 10.0, 3
TEXT = "A sentence about **one** thing, with `code` and a [link](https://example.com/), as agents write them.\n\n" * 3
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"


def measure(at: Stage) -> Figures:
    """In Chromium. The page follows the end; each part is an event of its own."""
    scene.platform(at)
    board = boards.board()
    session = _session(board)
    paints, runs, longest = [], [], []
    with browser.chromium() as running:
        cookie = browser.cookie_of(boards.people(board.team, 1)[0])
        path = f"/sessions/{session.pk}/"
        browser.visit(running, cookie, boards.SLUG, path)  # templates and styles are read
        for _ in range(ROUNDS):
            page = browser.visit(running, cookie, boards.SLUG, path)
            paints.append(_painted(page))
            page.get_by_role("button", name="Follow").click()
            page.evaluate("window.longest = 0")
            sent = _stream(board.team, session)
            runs.append(boards.waits(sent, browser.seen(page, set(sent), seconds=60)))
            longest.append(float(page.evaluate("window.longest")))
            page.context.close()
    return {
        "live.transcript_first_paint_ms": typical(paints, "ms"),
        "live.transcript200_p95_ms": tail(runs, "ms"),
        "live.transcript_longest_task_ms": typical(longest, "ms"),
    }


def _session(board: boards.Board) -> Session:
    with in_schema(board.team.schema_name):
        made = Session.objects.create(subject=board.swarm.topic, title="A long talk", agent="developer-1")
        messages = [
            Message(id=uuid4(), session=made, number=number, role="assistant")
            for number in range(1, PARTS // PER_MESSAGE + 1)
        ]
        Message.objects.bulk_create(messages, batch_size=1_000)
        parts = (
            Part(id=uuid4(), message=message, index=index, kind="text", state="done", text=TEXT)
            for message in messages
            for index in range(PER_MESSAGE)
        )
        Part.objects.bulk_create(parts, batch_size=1_000)
    return made


def _painted(page: Page) -> float:
    """Milliseconds from asking for the page to its first paint with contents."""
    page.wait_for_function(f"() => ({PAINTED}) > 0", timeout=30_000)
    return float(page.evaluate(PAINTED))


def _stream(team: Team, session: Session) -> dict[str, float]:
    """Parts as a runner reports them, some at a time; when each was committed, by its id."""
    sent: dict[str, float] = {}
    began = time.monotonic()
    with in_schema(team.schema_name):
        for number in range(int(RATE * SECONDS) // BATCH):
            time.sleep(max(0.0, began + number * BATCH / RATE - time.monotonic()))
            message = MessageRecord(id=uuid4(), role="assistant")
            parts = [
                PartRecord(id=uuid4(), message=message.id, index=index, kind="text", text=TEXT)
                for index in range(BATCH)
            ]
            transcript.record(session, [message, *parts])
            moment = time.time()
            sent |= {str(part.id): moment for part in parts}
    return sent
