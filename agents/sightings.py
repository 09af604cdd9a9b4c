"""What discovery found and heard, written into the teams' lists of servers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from django.db.models import Q
from django.utils import timezone

from agents import hosting, placing, servers
from agents.handshake import Health, NoServer
from agents.hosting import Proof, Untried
from agents.models import Server
from agents.servers import UNASKED, Locked, plain, tell
from agents.states import ENROLLED, ServerState
from sessions.transitions import move
from tenants.context import each_team, in_schema
from tenants.secrets import CannotUnseal, unseal

logger = structlog.get_logger(__name__)
_SILENT = "no answer since {seen:%H:%M:%S} UTC"


@dataclass(frozen=True)
class Found:
    """A server that answered the handshake."""

    name: str
    url: str
    version: str
    kind: str = "opencode"
    also_at: tuple[str, ...] = ()
    """Other addresses at which it answers."""
    wants_password: bool = False
    latency_ms: int = 0


def record(found: Iterable[Found], *, lost_before: datetime | None = None) -> None:
    """Writes the servers that were found on the network into every ready team; see also `still`."""
    servers = list(found)
    for schema in each_team():
        with in_schema(schema):
            for server in servers:
                if not _still(server) and not Server.objects.filter(url=server.url).exists():
                    _list(server)
            if lost_before is not None:
                _lose(Q(last_seen__lt=lost_before), _SILENT)


def still(answering: Iterable[Found], *, lost_before: datetime) -> None:
    """Servers that answered again, where they are listed already: one that a team was given is no other team's.

    Those silent since `lost_before` become lost. One that comes back after that is quarantined again: nobody knows
    whether it is the same one.
    """
    servers = list(answering)
    for schema in each_team():
        with in_schema(schema):
            for server in servers:
                _still(server)
            _lose(Q(last_seen__lt=lost_before), _SILENT)


def gone(urls: Iterable[str]) -> None:
    """Servers that said goodbye, and do not answer any more."""
    wanted = Q(url__in=list(urls), is_given=False)
    for schema in each_team():
        with in_schema(schema):
            _lose(wanted, "it took its announcement back, and does not answer")


def _lose(which: Q, because: str) -> None:
    for silent in Server.objects.filter(which).exclude(state__in=[ServerState.LOST, *UNASKED]):
        move(silent, ServerState.LOST, because=because.format(seen=silent.last_seen), guard=which)


def _still(found: Found) -> bool:
    """Keep what a listed server says now. Returns False when it is not listed, or not to be asked."""
    row = Server.objects.filter(url=found.url).exclude(state__in=UNASKED).first()
    if row is None:
        return False
    fields: dict[str, Any] = {"last_seen": timezone.now(), "latency_ms": found.latency_ms}
    fields |= {"wants_password": found.wants_password}
    if found.also_at and not row.is_given:
        fields |= {"also_at": list(found.also_at)}
    is_locked = bool(row.password) and row.state in ENROLLED
    if not is_locked:  # what it says with its password is asked apart
        fields |= {"version": found.version, "fault": ""}
    news = (fields.get("version", row.version), fields.get("fault", row.fault)) != (row.version, row.fault)
    Server.objects.filter(pk=row.pk).update(**fields)
    row.refresh_from_db()
    if row.state == ServerState.LOST:
        move(row, ServerState.QUARANTINED, because="it answers again")
    elif is_locked and not found.wants_password:
        servers.quarantine(row, because="it wanted a password, and now answers anybody: is it another one?")
    elif news:
        tell(row, "answers")
    return True


def _list(found: Found) -> None:
    # Under another name it is listed all the same: anybody can claim others' addresses.
    if Server.objects.filter(also_at__contains=[found.url], name=plain(found.name)).exists():
        return  # another address of one that is listed
    if not servers.has_room():
        logger.warning("server left out: the list is full", most=servers.MOST)
        return
    row = Server.objects.create(
        name=plain(found.name),
        url=found.url,
        version=found.version,
        kind=found.kind,
        also_at=list(found.also_at),
        wants_password=found.wants_password,
        latency_ms=found.latency_ms,
        last_seen=timezone.now(),
        because="found on the network",
    )
    logger.info("server found", server=row.name, url=row.url, version=row.version)
    tell(row, "found")


def locked() -> list[Locked]:
    """Trusted servers with a password, of every team."""
    found = []
    for schema in each_team():
        with in_schema(schema):
            for row in Server.objects.filter(state__in=ENROLLED).exclude(password=""):
                try:
                    secret = unseal(row, "password")
                except CannotUnseal as error:
                    logger.error("a server's password cannot be read", server=row.name, error=str(error))
                    continue
                found.append(Locked(schema, row.pk, row.url, row.is_given, row.username, secret))
    return found


def told(one: Locked, answer: Health | NoServer) -> None:
    """Keep what came of that. A fault is no loss: silence alone makes a server lost."""
    with in_schema(one.schema):
        row = Server.objects.filter(pk=one.pk, state__in=ENROLLED).first()
        if row is not None:
            servers.keep(row, answer)


def known() -> dict[str, tuple[str, bool]]:
    """Address → name and whether a member gave it, of every server in a team's list that is to be asked.

    Lost ones that announce themselves are asked when they announce themselves again.
    """
    found: dict[str, tuple[str, bool]] = {}
    for schema in each_team():
        with in_schema(schema):
            rows = Server.objects.exclude(state__in=UNASKED).exclude(state=ServerState.LOST, is_given=False)
            for url, name, is_given in rows.values_list("url", "name", "is_given"):
                found[url] = (name, is_given and found.get(url, ("", True))[1])
    return found


def shared(one: Untried, proofs: Sequence[Proof]) -> None:
    """Runners share a server's disk: work may be placed on it."""
    with in_schema(one.schema):
        if hosting.keep_proofs(one, proofs):
            placing.wake()
