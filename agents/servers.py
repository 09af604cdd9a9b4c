"""Agent servers of a team: what members decide about them, and what one of them answers."""

from dataclasses import dataclass
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from agents import handshake
from agents.handshake import Health, NoServer
from agents.models import Server
from agents.states import ServerState
from sessions.events import publish
from sessions.models import Event
from sessions.transitions import move
from tenants.reachable import NotAllowed
from tenants.secrets import seal, unseal

MOST = 200
"""Servers of a team: whoever floods the network with names does not flood the list."""
NAME_LENGTH, FAULT_LENGTH = 120, 200
SHOWN = 30
"""Events of one server that are shown."""
UNASKED = (ServerState.DISABLED,)


@dataclass(frozen=True)
class Locked:
    """A trusted server that answers only with its password: asked for each team by itself."""

    schema: str
    pk: UUID
    url: str
    is_given: bool
    username: str
    password: str


def plain(name: str) -> str:
    """A name out of the network, with nothing in it that does not show."""
    return "".join(letter for letter in name if letter.isprintable())[:NAME_LENGTH] or "nameless"


def asked(one: Locked, *, seconds: float = handshake.PROBE_SECONDS) -> Health | NoServer:
    """What a server says to who has its password."""
    rule = handshake.given_rule() if one.is_given else handshake.announced_rule()
    try:
        return handshake.shake(one.url, rule, seconds=seconds, username=one.username, password=one.password)
    except NoServer as error:
        return error


def keep(row: Server, answer: Health | NoServer) -> None:
    if isinstance(answer, NoServer):
        fault = str(answer)[:FAULT_LENGTH]
        if Server.objects.filter(pk=row.pk).exclude(fault=fault).update(fault=fault):
            row.refresh_from_db()
            tell(row, "silent")
        return
    fields = {"version": answer.version, "fault": "", "latency_ms": answer.latency_ms, "last_seen": timezone.now()}
    news = (row.version, row.fault) != (answer.version, "")
    Server.objects.filter(pk=row.pk).update(wants_password=answer.wants_password or bool(row.password), **fields)
    row.refresh_from_db()
    if row.state == ServerState.LOST:
        move(row, ServerState.QUARANTINED, because="it answers again")
    elif news:
        tell(row, "answers")


def add(url: str, name: str = "") -> Server:
    """A server by its address: asked at once, and quarantined like any other. Raises ValidationError."""
    try:
        root = handshake.checked(url)
        health = handshake.shake(root, handshake.given_rule(), seconds=handshake.ASK_SECONDS)
    except NotAllowed as error:
        raise ValidationError({"url": str(error)}) from error
    except NoServer as error:
        raise ValidationError({"url": f"No OpenCode server is there: {error}."}) from error
    with transaction.atomic():
        if Server.objects.filter(url=root).exists():
            raise ValidationError({"url": "This server is listed already."})
        if Server.objects.count() >= MOST:
            raise ValidationError(f"A team has at most {MOST} servers. Remove one that is lost.")
        row = Server.objects.create(
            name=plain(name.strip() or root.partition("//")[2]),
            url=root,
            version=health.version,
            wants_password=health.wants_password,
            latency_ms=health.latency_ms,
            last_seen=timezone.now(),
            is_given=True,
            because="added by its address",
        )
        tell(row, "added")
    return row


def enrol(server: Server, *, because: str, username: str = "", password: str = "") -> bool:
    """A member trusts it: with its password, if it wants one, which is tried at once. Raises ValidationError.

    Without a new password, one that is kept is used.
    """
    if server.state not in (ServerState.QUARANTINED, ServerState.LOST):
        return False
    secret = password or unseal(server, "password")
    name = username or server.username or handshake.USERNAME
    one = Locked("", server.pk, server.url, server.is_given, name, secret)
    answer = asked(one, seconds=handshake.ASK_SECONDS)
    if isinstance(answer, NoServer):
        raise ValidationError(f"{server.name} cannot be enrolled: {answer}.")
    if answer.wants_password:
        raise ValidationError(f"{server.name} answers only with its password: give it.")
    sealed = seal(secret, server, "password") if secret else ""
    moved = move(server, ServerState.TRUSTED, because=because, username=name if secret else "", password=sealed)
    if moved:
        keep(server, answer)
    return moved


def change_password(server: Server, *, username: str, password: str) -> None:
    """Other credentials, or none. They are never shown again. Raises ValidationError."""
    if password:
        one = Locked("", server.pk, server.url, server.is_given, username or handshake.USERNAME, password)
        if isinstance(answer := asked(one, seconds=handshake.ASK_SECONDS), NoServer):
            raise ValidationError(f"Not changed: {answer}.")
    sealed = seal(password, server, "password") if password else ""
    Server.objects.filter(pk=server.pk).update(
        username=(username or handshake.USERNAME) if password else "", password=sealed
    )
    server.refresh_from_db()
    tell(server, "changed")


def quarantine(server: Server, *, because: str) -> bool:
    """It is not trusted any more, or asked again after it was disabled; its password is forgotten."""
    if server.state not in (ServerState.TRUSTED, ServerState.DISABLED):
        return False
    return move(server, ServerState.QUARANTINED, because=because, username="", password="")


def disable(server: Server, *, because: str) -> bool:
    """It is not asked any more, and stays in the list, so that it is not found anew."""
    if server.state in UNASKED:
        return False
    return move(server, ServerState.DISABLED, because=because, username="", password="")


def remove(server: Server) -> None:
    """It is gone from the list. Raises ValidationError for one that would come back by itself."""
    if not server.is_given and server.state not in (ServerState.LOST, ServerState.DISABLED):
        raise ValidationError(f"{server.name} announces itself and would be found again: disable it instead.")
    with transaction.atomic():
        tell(server, "removed")
        server.delete()


def probe(server: Server) -> Health | NoServer:
    """Ask it now, and keep what came of it."""
    secret = unseal(server, "password") if server.state == ServerState.TRUSTED else ""
    one = Locked("", server.pk, server.url, server.is_given, server.username, secret)
    answer = asked(one, seconds=handshake.ASK_SECONDS)
    keep(server, answer)
    return answer


def history(server: Server) -> list[Event]:
    """What happened to it, the last first."""
    mine = Q(payload__id=str(server.pk)) | Q(payload__server=str(server.pk))
    events = Event.objects.filter(mine, subject="team", kind__in=["server.moved", "server.changed"])
    return list(events.order_by("-seq")[:SHOWN])


def tell(row: Server, what: str) -> None:
    publish("team", "server.changed", server=str(row.pk), name=row.name, url=row.url, version=row.version, what=what)
