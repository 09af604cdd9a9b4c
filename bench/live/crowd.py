"""Fifty people on one swarm, each signed in and with a page of it."""

from typing import Any

from django.conf import settings

from bench.figures import Figures, tail, typical
from bench.live import boards, browser, scene
from bench.stage import Stage, seconds_of

PEOPLE, RATE, SECONDS, ROUNDS = 50, 5.0, 10.0, 3


def measure(at: Stage) -> Figures:
    """One in Chromium, where it is measured in the document; the others as what their pages are to the server: a
    stream of HTML each. Five events a second."""
    scene.platform(at)
    board = boards.board()
    people = boards.people(board.team, PEOPLE)
    cookies = [browser.cookie_of(user) for user in people]
    port, process = int(at.environment["WAGGLE_PORT"]), at.processes["web"].pid
    shown, came, cpus = [], [], []
    with browser.chromium() as running, scene.readers([_page(board, port, one) for one in cookies[1:]]) as others:
        page = browser.visit(running, cookies[0], boards.SLUG, board.path)
        boards.steadily(board, rate=RATE, seconds=2)
        every: dict[str, float] = {}
        for _ in range(ROUNDS):
            used = seconds_of(process)
            sent = boards.steadily(board, rate=RATE, seconds=SECONDS)
            cpus.append((seconds_of(process) - used) * 1000 / len(sent))
            shown.append(boards.waits(sent, browser.seen(page, set(sent))))
            every |= sent
    arrivals = others.arrivals[board.swarm.topic]
    for seq in every:
        if len(arrivals.get(int(seq), [])) != PEOPLE - 1:
            raise AssertionError(f"event {seq} came to {len(arrivals.get(int(seq), []))} of {PEOPLE - 1} pages")
    came = [max(arrivals[int(seq)]) - min(arrivals[int(seq)]) for seq in every]
    return {
        "live.users50": tail(shown, "ms"),
        "live.users50_fanout_p95_ms": tail([[one * 1000 for one in came]], "ms"),
        "live.users50_cpu_ms_per_event": typical(cpus, "ms"),
    }


def _page(board: boards.Board, port: int, cookie: str) -> dict[str, Any]:
    request = (
        f"GET /events?as=html&topic={board.swarm.topic} HTTP/1.1\r\n"
        f"Host: {boards.SLUG}.{settings.WAGGLE_HOST}:{port}\r\n"
        f"Cookie: {settings.SESSION_COOKIE_NAME}={cookie}\r\n\r\n"
    )
    return {"port": port, "topic": board.swarm.topic, "request": request}
