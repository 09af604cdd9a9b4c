"""Sessions that attempts leave on enrolled servers: removed there once an attempt is over, or as soon as that can be.

A server itself says what is there: each session of ours names its execution. Until it was seen to be gone there is a
row of it (`LeftSession`), and the server is due. Both are in the database, so that it is done also when the runner is
gone, and when the server is away for days. One that is not enrolled is not asked: it becomes due again when it is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Count, Min
from django.utils import timezone

from agents import handshake, hosting
from agents.handshake import Known, NoServer
from agents.models import Execution, LeftSession, Server
from agents.opencode.shapes import mapping, words
from agents.states import ENROLLED
from tenants import turns
from tenants.messages import send_on_commit
from tenants.models import Placement

logger = structlog.get_logger(__name__)

CLEAR = "clear_server"
"""Due time and actor."""
AGAIN = timedelta(seconds=30)
"""When a server is asked again on which something is left."""
TURN = timedelta(seconds=120)
"""So long nobody else is sent to a server to which somebody was."""
SESSIONS, CHARACTERS = 10_000, 16 << 20
"""The newest of a server, and of how long a list: its owner has sessions, too."""


@dataclass(frozen=True)
class Owed:
    """What is to be removed from a server."""

    count: int
    since: datetime


@dataclass(frozen=True)
class Left:
    """A session of ours on a server."""

    session: str
    directory: str
    execution: str


def noted(execution: Execution) -> None:
    """An execution has ended, in this transaction: where its runner had it for a server, a session may be there."""
    server = execution.placed.get("server")
    if server and Placement.objects.filter(execution=execution.pk).exclude(delivered_at=None).exists():
        LeftSession.objects.create(execution=execution, server=server)
        begin(UUID(server))


def begin(server: UUID) -> None:
    """Have a server cleared soon."""
    turns.due(CLEAR, server, after=AGAIN)
    send_on_commit(CLEAR, str(server))


def owed() -> dict[UUID, Owed]:
    """What is still to be removed from the team's servers, by server."""
    rows = LeftSession.objects.values_list("server").annotate(Count("pk"), Min("created_at"))
    return {server: Owed(count, since) for server, count, since in rows}


def clear(server_id: UUID) -> None:
    """Remove from a server what is owed there; what could not be removed is due again."""
    turns.postpone(CLEAR, server_id, after=TURN)
    server = Server.objects.filter(pk=server_id, state__in=ENROLLED).first()
    if server is not None:
        _clear(server)
    with transaction.atomic():
        # First the due time, then the look: who ends an execution writes both, so that either we see it, or its due
        # time comes after us.
        turns.settled(CLEAR, server_id)
        if server is not None and LeftSession.objects.filter(server=server_id).exists():
            turns.due(CLEAR, server_id, after=AGAIN)


def _clear(server: Server) -> None:
    ended = {row.pk: row.execution for row in LeftSession.objects.filter(server=server.pk).select_related("execution")}
    if not ended or not (credentials := hosting.credentials(server)):
        return
    rule = handshake.given_rule() if server.is_given else handshake.announced_rule()
    known, ours = Known(server.url, rule, **credentials), set(map(str, ended))
    try:
        # A server that did not answer in time when it was asked to begin one may have two.
        mine = [each for each in _sessions(known) if each.execution in ours]
        for each in mine:
            _remove(known, each)
            logger.info("a session is removed from a server", server=server.name, execution=each.execution)
    except NoServer as error:
        logger.warning("sessions of ended attempts stay on a server", server=server.name, because=str(error))
        return
    seen = {each.execution for each in mine}
    gone = [pk for pk, execution in ended.items() if str(pk) in seen or _comes_no_more(execution)]
    LeftSession.objects.filter(pk__in=gone).delete()


def _comes_no_more(execution: Execution) -> bool:
    """Whether an execution that has no session will have none: its runner said how it ended, or must have given up."""
    assert execution.ended_at is not None
    patience = timedelta(seconds=4 * settings.LEASE_SECONDS)
    return execution.outcome is not None or timezone.now() - execution.ended_at > patience


def _sessions(known: Known) -> Iterator[Left]:
    """Sessions on a server that name an execution, of whichever team. Raises NoServer."""
    answer = known.ask("GET", "/experimental/session", {"limit": str(SESSIONS)}, most=CHARACTERS)
    if answer.status != 200:
        raise NoServer(f"it answers HTTP {answer.status} when it is asked for its sessions")
    rows = handshake.parsed(answer.excerpt, "it lists no sessions as OpenCode does")
    for row in map(mapping, rows if isinstance(rows, list) else ()):
        if execution := words(mapping(row.get("metadata")).get("execution")):
            yield Left(words(row.get("id")), words(row.get("directory")), execution)


def _remove(known: Known, left: Left) -> None:
    """Stops what goes on in a session, removes it, and has the server forget its workspace's configuration. Raises
    NoServer."""
    path, place = f"/session/{quote(left.session, safe='')}", {"directory": left.directory}
    known.ask("POST", f"{path}/abort", place)
    answer = known.ask("DELETE", path, place)
    known.ask("POST", "/instance/dispose", place)
    if answer.status not in (200, 404):
        raise NoServer(f"it answers HTTP {answer.status} when a session is to be removed")
