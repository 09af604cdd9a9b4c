"""Webhooks under test: made with a secret that is known, sent by turns in this process, with time that can pass."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from sessions.events import publish_all
from sessions.models import Backlog, Event, Webhook
from sessions.relay import BATCH, number
from sessions.webhooks import endpoints, sender
from tenants import turns
from tenants.models import Due
from tests.conftest import user_of
from tests.receiver import Receiver, Replies, Reply, receiving

SWARM = "swarm:00000000-0000-7000-8000-00000000000"


def swarm(number: int) -> str:
    """The subject of a swarm."""
    return f"{SWARM}{number}"


def happen(subject: str, count: int = 1, kind: str = "decision.made") -> list[Event]:
    """Events of a swarm, numbered in the team's stream."""
    facts: list[tuple[str, dict[str, Any]]] = [
        (kind, {"by": "engine", "what": f"w{n}", "why": "said “so”"}) for n in range(count)
    ]
    made = publish_all(subject, facts)
    place()
    return made


def place() -> None:
    """Give all events their places, as the relay does."""
    while number(turns.current_team_id()) == BATCH:
        continue


class Stage:
    """A webhook and its receiver."""

    def __init__(self, server: Receiver, webhook: Webhook, secret: str) -> None:
        self.server, self.secret, self.pk = server, secret, webhook.pk

    @property
    def webhook(self) -> Webhook:
        """As it is now."""
        return Webhook.objects.get(pk=self.pk)

    @property
    def got(self) -> dict[str, list[int]]:
        """Numbers of the events that came, by subject, each once, in the order of their first coming."""
        found: dict[str, list[int]] = {}
        for subject, seq in self.server.seqs:
            if seq not in found.setdefault(subject, []):
                found[subject].append(seq)
        return found

    @property
    def backlogs(self) -> dict[str, tuple[int, int]]:
        """For each subject that waits: the last number that was sent, and tries of the next one."""
        return {one.subject: (one.seq, one.attempts) for one in Backlog.objects.filter(webhook=self.pk)}

    @property
    def due_in(self) -> float | None:
        """Seconds until it is looked at; None: it is not."""
        row = Due.objects.filter(kind="webhook", subject=self.pk).first()
        return (row.due_at - timezone.now()).total_seconds() if row else None

    def turn(self) -> int:
        """One turn; says how many tries there were."""
        return sender.send(self.pk)

    def turns(self, most: int = 20) -> int:
        """Turns until nothing is due."""
        tried = 0
        for _ in range(most):
            if self.due_in is None or self.due_in > 0.3:
                return tried
            self.pass_time(0.3)  # until which another turn waits after the one before
            tried += self.turn()
        raise AssertionError("it does not come to rest")

    def pass_time(self, seconds: float) -> None:
        """All moments that are written down come nearer."""
        words: dict[str, Any] = {"by": timedelta(seconds=seconds)}
        with connection.cursor() as cursor:
            for table, columns in MOMENTS.items():
                moved = ", ".join(f"{column} = {column} - %(by)s" for column in columns)
                cursor.execute(f"UPDATE {table} SET {moved}", words)


MOMENTS: dict[str, Sequence[str]] = {
    "agent_sessions_webhook": (*("hold_until", "failing_since", "lease_until", "turned_at", "old_secret_until"),),
    "agent_sessions_backlog": ("due_at",),
    "agent_sessions_letter": ("due_at",),
    "public.tenants_due": ("due_at",),
}


@contextmanager
def staged(reply: Replies = lambda got: Reply(), **choice: Any) -> Iterator[Stage]:
    """A webhook in the current team, which gets what happens from now on."""
    with receiving() as server:
        stage = add(server, **choice)
        server.reply = reply
        yield stage


def add(server: Receiver, kinds: Sequence[str] = (), projects: Sequence[UUID] = ()) -> Stage:
    """Another webhook to a receiver."""
    named = [str(project) for project in projects]
    by = user_of("alice", "acme")
    made, secret = endpoints.add(name="hook", url=server.url, kinds=kinds, projects=named, by=by)
    place()  # that it was made is an event, too
    sender.send(made.pk)
    server.got.clear()
    return Stage(server, made, secret)
