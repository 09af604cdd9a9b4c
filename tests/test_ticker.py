"""The clock as a command: it goes on when the database was away."""

import threading
from collections.abc import Iterator

import pytest
from django.db import connection

from swarms import reconcile
from swarms.management.commands import ticker
from tenants.models import Team


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """What ends the clock. The usual one blocks the signals of the whole process."""
    event = threading.Event()
    monkeypatch.setattr(ticker, "ending", lambda: event)
    yield event
    event.set()


@pytest.mark.parametrize("moment", ["begin", "tick"])
def test_the_clock_goes_on_when_its_connection_breaks(
    moment: str, committed_team: Team, stop: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, went_on, breaks = getattr(reconcile, moment), threading.Event(), [True]

    def broken_once() -> None:
        if breaks:
            breaks.clear()
            with connection.cursor() as cursor:  # as a database that ends at once
                cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        usual()
        went_on.set()

    def run() -> None:
        ticker.Command().handle()
        connection.close()

    monkeypatch.setattr(reconcile, moment, broken_once)
    clock = threading.Thread(target=run)
    clock.start()
    try:
        assert went_on.wait(30), "the clock stands still"
    finally:
        stop.set()
        clock.join(30)
    assert not breaks
    assert not clock.is_alive()
