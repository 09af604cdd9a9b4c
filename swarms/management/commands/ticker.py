"""The clock: reconciler, turns and the relay of events. One leader; others wait for it to end."""

import threading
import time
from typing import Any

import psycopg
import structlog
from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import OperationalError, close_old_connections, connection
from prometheus_client import start_http_server

from agents.standings import Watch
from sessions.artifacts import sweep as artifacts
from sessions.relay import Relay
from swarms import reconcile
from swarms.sweep import Sweep
from swarms.verify import hourly
from tenants import removal
from tenants.ending import ending
from tenants.patience import wait_briefly

logger = structlog.get_logger(__name__)
LEADER_LOCK = 0x77616767
"""Key of the advisory lock that makes one ticker the leader ("wagg")."""
LOOK_SECONDS = 3
"""How often the clock looks for teams without a schema, and for runners that look different."""


class Command(BaseCommand):
    help = "Run the clock: look for lost work, give out turns, publish events."

    def handle(self, *args: Any, **options: Any) -> None:
        """Tick until SIGTERM."""
        stop = ending()
        if settings.TICKER_METRICS_PORT:
            start_http_server(settings.TICKER_METRICS_PORT)
        while not stop.is_set():
            try:
                with psycopg.connect(**_parameters(), autocommit=True) as leader:
                    self._lead(leader, stop)
            except (psycopg.OperationalError, OperationalError) as error:
                logger.warning("no database; trying again", error=str(error))
                connection.close()  # else every try after the first would meet the one that broke
                stop.wait(1)

    def _lead(self, leader: psycopg.Connection[Any], stop: threading.Event) -> None:
        while not stop.is_set():
            row = leader.execute("SELECT pg_try_advisory_lock(%s)", [LEADER_LOCK]).fetchone()
            if row and row[0]:
                break
            stop.wait(settings.TICK_SECONDS)
        logger.info("ticker leads")
        over = threading.Event()
        beside = [
            threading.Thread(target=_relay, args=[over], name="relay", daemon=True),
            threading.Thread(target=_sweep, args=[over], name="sweep", daemon=True),
        ]
        for thread in beside:
            thread.start()
        threading.Thread(target=hourly.run, args=[over], name="verify", daemon=True).start()
        threading.Thread(target=artifacts.run, args=[over], name="artifacts", daemon=True).start()
        try:
            self._tick(leader, stop)
        finally:
            # Who leads no longer relays no longer, and mends nothing.
            over.set()
            for thread in beside:
                thread.join(timeout=5)

    def _tick(self, leader: psycopg.Connection[Any], stop: threading.Event) -> None:
        looked, runners = 0.0, Watch()
        wait_briefly()
        reconcile.begin()
        while not stop.is_set():
            started = time.monotonic()
            leader.execute("SELECT 1")  # the lock is gone with its connection
            close_old_connections()
            wait_briefly()
            reconcile.tick()
            if started - looked > LOOK_SECONDS:
                reconcile.find_unprovisioned()
                removal.remind()
                runners.look()
                looked = started
            stop.wait(max(0.01, settings.TICK_SECONDS - (time.monotonic() - started)))


def _relay(stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            Relay().run(stop)
        except Exception:
            # Rows stay in the outbox: nothing is lost by trying again.
            logger.exception("relay stopped; starting it again")
            connection.close()
            stop.wait(1)


def _sweep(stop: threading.Event) -> None:
    """Beside the ticks, so that no tick waits for it."""
    broom = Sweep()
    while not stop.wait(settings.SWEEP_SECONDS):
        close_old_connections()
        try:
            wait_briefly()
            broom.run()
        except Exception:
            # The next one looks at the same rows.
            logger.exception("a sweep was broken off")
            connection.close()
    connection.close()


def _parameters() -> dict[str, Any]:
    database: dict[str, Any] = settings.DATABASES["default"]
    return {
        "host": database["HOST"],
        "port": database["PORT"],
        "user": database["USER"],
        "password": database["PASSWORD"],
        "dbname": database["NAME"],
        "options": database["OPTIONS"]["options"],
    }
