"""From a commit to the document of a page in Chromium."""

from bench.figures import Figures, tail
from bench.live import boards, browser, scene
from bench.stage import Stage

RATE, SECONDS, ROUNDS = 5.0, 10.0, 3


def measure(at: Stage) -> Figures:
    """One page of a swarm of twenty nodes; five events a second, each a line of its feed."""
    scene.platform(at)
    board = boards.board()
    runs = []
    with browser.chromium() as running:
        owner = boards.people(board.team, 1)[0]
        page = browser.visit(running, browser.cookie_of(owner), boards.SLUG, board.path)
        boards.steadily(board, rate=RATE, seconds=2)
        for _ in range(ROUNDS):
            sent = boards.steadily(board, rate=RATE, seconds=SECONDS)
            runs.append(boards.waits(sent, browser.seen(page, set(sent))))
    return {"live.commit_to_dom_p95_ms": tail(runs, "ms"), "live.commit_to_dom_p50_ms": tail(runs, "ms", 0.5)}
