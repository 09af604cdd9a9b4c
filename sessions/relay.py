"""From the outbox to the live streams: each committed event gets its place in the team's stream.

Two steps, each repeatable after a crash. Numbering is in Postgres and needs nothing else. Announcing adds
numbered events to the team's Redis Stream under that number; only then does the outbox forget them.
"""

import json
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg
import redis
import structlog
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from django.utils import timezone
from redis.backoff import NoBackoff
from redis.retry import Retry

from sessions.frames import told
from sessions.metrics import RELAY_LAG, RELAYED
from sessions.models import Event
from sessions.topics import stream_key
from tenants.context import PUBLIC, in_schema
from tenants.faults import crash_point
from tenants.messages import send_on_commit

logger = structlog.get_logger(__name__)

BATCH = 500
STREAM_LENGTH = 10_000
"""Events that a team's stream keeps, roughly; who missed more replays from Postgres."""
ROUND_SECONDS = 0.02
"""Rounds follow each other so fast at most: who publishes one event at a time costs one round for several of them."""
POLL_SECONDS = 0.25
PAUSE_SECONDS = 1.0
"""So long Redis, or the database, is left alone after a failure."""

# As many steps through the index as teams have something waiting, however many teams there are.
_WAITING = """
WITH RECURSIVE waiting (team_id) AS (
  (SELECT team_id FROM public.tenants_outbox ORDER BY team_id LIMIT 1)
  UNION ALL
  SELECT (SELECT o.team_id FROM public.tenants_outbox o WHERE o.team_id > w.team_id ORDER BY o.team_id LIMIT 1)
  FROM waiting w WHERE w.team_id IS NOT NULL
)
SELECT team.schema_name, team.id FROM waiting JOIN public.tenants_team AS team ON team.id = waiting.team_id
"""
# An event that is gone (retention) is not announced; its row in the outbox goes with the batch.
_NUMBERED = """
SELECT outbox.id, event.id, event.subject, event.seq, event.kind, event.payload, event.actor, event.cause, event.trace,
  event.at, event.position
FROM public.tenants_outbox AS outbox LEFT JOIN agent_sessions_event AS event ON event.id = outbox.event
WHERE outbox.team_id = %(team)s AND (event.id IS NULL OR event.position IS NOT NULL)
ORDER BY event.position NULLS FIRST LIMIT %(batch)s
"""
# Nobody waits for the disk here: what a crash brings back is announced once more, and Redis knows it by its place.
_FORGET = "SET LOCAL synchronous_commit TO off; DELETE FROM public.tenants_outbox WHERE id = ANY(%s)"
_COLUMNS = ("id", "subject", "seq", "kind", "payload", "actor", "cause", "trace", "at", "position")


class Waiting(NamedTuple):
    """A team with events in the outbox."""

    schema: str
    team: Any


def relay_once() -> int:
    """Relay what waits, once, with a connection of its own. Returns how many events went out."""
    relay = Relay()
    try:
        return relay.run_once()
    finally:
        relay.close()


class Relay:
    """Relays events for all teams. One at a time is enough; two at once change nothing but the load."""

    def __init__(self) -> None:
        self._redis = redis.Redis.from_url(
            settings.STREAM_URL, socket_timeout=2, socket_connect_timeout=1, retry=Retry(NoBackoff(), 1), protocol=2
        )
        self._bell: psycopg.Connection | None = None
        self._redis_away_until: float | None = None

    def run_once(self) -> int:
        """One batch of every team that has something waiting. Returns how many events went out."""
        with in_schema(PUBLIC), connection.cursor() as cursor:
            cursor.execute(_WAITING)
            teams = [Waiting(*row) for row in cursor.fetchall()]
        return sum(self._relay(waiting) for waiting in teams)

    def wait(self, timeout: float = POLL_SECONDS) -> None:
        """Sleep until somebody publishes, at most `timeout` seconds."""
        try:
            if self._bell is None or self._bell.closed:
                self._bell = _listen()
            for _ in self._bell.notifies(timeout=timeout, stop_after=1):
                return
        except psycopg.OperationalError as error:
            logger.warning("relay cannot listen, polls instead", error=str(error))
            self._hang_up()
            time.sleep(PAUSE_SECONDS)

    def run(self, stop: threading.Event) -> None:
        """Relay until `stop` is set; survives the database and Redis being away."""
        try:
            while not stop.is_set():
                began, sent = time.monotonic(), 0
                try:
                    sent = self.run_once()
                except DatabaseError as error:
                    logger.warning("relay waits for the database", error=str(error))
                    connection.close()
                    stop.wait(PAUSE_SECONDS)
                if sent:
                    stop.wait(max(0.0, ROUND_SECONDS - (time.monotonic() - began)))
                else:
                    self.wait()
        finally:
            self.close()
            connection.close()

    def close(self) -> None:
        """Let go of all connections."""
        self._hang_up()
        self._redis.close()

    def _hang_up(self) -> None:
        if self._bell is not None:
            self._bell.close()
            self._bell = None

    def _relay(self, waiting: Waiting) -> int:
        with in_schema(waiting.schema):
            number(waiting.team)
            crash_point("relay.numbered")
            if self._redis_away_until is not None and time.monotonic() < self._redis_away_until:
                return 0
            try:
                sent = announce(waiting, self._redis)
            except redis.RedisError as error:
                if self._redis_away_until is None:
                    logger.warning("live streams wait for Redis; events are kept", error=str(error))
                self._redis_away_until = time.monotonic() + PAUSE_SECONDS
                return 0
            if self._redis_away_until is not None:
                logger.info("live streams go on, Redis is back")
                self._redis_away_until = None
            return sent


def number(team: Any) -> int:
    """Give the team's next events their positions, in its schema, and wake its webhooks. Returns how many got one."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT numbered, woken FROM agent_sessions_number(%s, %s)", [team, BATCH])
        numbered, woken = cursor.fetchone()
    for webhook in woken or ():
        send_on_commit("webhook", str(webhook))
    return int(numbered)


def announce(waiting: Waiting, client: redis.Redis) -> int:
    """Put numbered events on the team's Redis Stream, then off the outbox. Raises redis.RedisError."""
    with connection.cursor() as cursor:
        cursor.execute(_NUMBERED, {"team": waiting.team, "batch": BATCH})
        rows = cursor.fetchall()
    if not rows:
        return 0
    events = [
        Event(**dict(zip(_COLUMNS, row[1:], strict=True)) | {"payload": json.loads(row[5])})
        for row in rows
        if row[-1] is not None
    ]
    key = stream_key(waiting.schema)
    if _add(client, key, events) and _is_of_another_life(client, key):
        logger.warning("the live stream is newer than the database: started anew", stream=key)
        client.delete(key)
        _add(client, key, events)
    crash_point("relay.announced")
    with connection.cursor() as cursor:
        cursor.execute(_FORGET, [[row for row, *_ in rows]])
    now = timezone.now()
    RELAYED.inc(len(events))
    for event in events:
        RELAY_LAG.observe((now - event.at).total_seconds())
    return len(events)


def fields(event: Event) -> dict[str, str]:
    """An event as it is on the stream under its position, encoded here for all who read it; see tail.Entry."""
    return {"subject": event.subject, "event": told(event)}


def _add(client: redis.Redis, key: str, events: Sequence[Event]) -> bool:
    """Add events under their positions. Returns whether Redis has a later one already."""
    with client.pipeline(transaction=False) as pipeline:
        for event in events:
            entry: Any = fields(event)
            pipeline.xadd(key, entry, id=f"{event.position}-0", maxlen=STREAM_LENGTH, approximate=True)
        answers = pipeline.execute(raise_on_error=False)
    refused = False
    for answer in answers:
        if isinstance(answer, redis.ResponseError) and "equal or smaller" in str(answer):
            refused = True
        elif isinstance(answer, Exception):
            raise answer
    return refused


def _is_of_another_life(client: redis.Redis, key: str) -> bool:
    # A database restored from a backup counts from an earlier position than the stream remembers.
    last_on_stream = client.xinfo_stream(key)["last-generated-id"].decode().partition("-")[0]
    with connection.cursor() as cursor:
        cursor.execute("SELECT last_position FROM agent_sessions_stream WHERE id = 1")
        row = cursor.fetchone()
    return row is None or int(last_on_stream) > row[0]


def _listen() -> psycopg.Connection:
    database = connection.settings_dict
    bell = psycopg.connect(
        host=database["HOST"] or None,
        port=database["PORT"] or None,
        user=database["USER"] or None,
        password=database["PASSWORD"] or None,
        dbname=database["NAME"],
        connect_timeout=5,
        autocommit=True,
    )
    bell.execute("LISTEN waggle_outbox")
    return bell
