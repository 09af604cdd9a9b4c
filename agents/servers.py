"""Agent servers of a team: what members decide about them, and what one of them answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from agents import clearing, executions, handshake, hosting, placing
from agents.handshake import Health, NoServer
from agents.models import Agent, Server
from agents.states import ENROLLED, ExecutionState, ServerState
from sessions.events import publish
from sessions.models import Event
from sessions.transitions import move
from tenants.reachable import NotAllowed
from tenants.secrets import CannotUnseal, seal, unseal

logger = structlog.get_logger(__name__)

MOST = 200
"""Servers of a team: whoever floods the network with names does not flood the list."""
NAME_LENGTH, FAULT_LENGTH = 120, 200
MOST_AT_ONCE = 100
"""Executions on one server."""
SHOWN = 30
"""Events of one server that are shown."""
UNASKED = (ServerState.DISABLED,)


@dataclass(frozen=True)
class Work:
    """What a member lets be done on a server. There its agents' tools run as its owner, outside of any sandbox."""

    roles: Sequence[str] = ()
    """None: no work is placed on it."""
    capacity: int = 2
    """Executions at once."""
    takes_untrusted: bool = False
    """Also work that reads what strangers wrote."""


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
        if not has_room(ServerState.QUARANTINED):
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


def has_room(*states: str) -> bool:
    """Whether there is room for one more server. In a full list one that was found and lost, and that nobody uses,
    makes room; else one in any of these states."""
    if Server.objects.count() < MOST:
        return True
    of_agents = Agent.objects.values("server")
    unused = Server.objects.filter(is_given=False, roles=[], password="").exclude(url__in=of_agents)
    for state in (ServerState.LOST, *states):
        if row := unused.filter(state=state).order_by("last_seen").first():
            tell(row, "removed")
            row.delete()
            return True
    return False


def enrol(server: Server, *, because: str, username: str = "", password: str = "") -> bool:
    """A member trusts it: with its password, if it wants one, which is tried at once. Raises ValidationError.

    Without a new password, one that is kept is used.
    """
    if server.state not in (ServerState.QUARANTINED, ServerState.LOST):
        return False
    secret = password or _kept(server)
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
        clearing.begin(server.pk)
    return moved


def _kept(server: Server) -> str:
    """Its password; none where that cannot be read, or was given for another address: then the server wants it anew."""
    try:
        return unseal(server, "password")
    except CannotUnseal as error:
        logger.error("a server's password cannot be read", server=server.name, error=str(error))
        return ""


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


def place(server: Server, work: Work) -> None:
    """Which work may be placed on it, from now on. Raises ValidationError."""
    check(server, work)
    roles = [role for role in placing.ROLES if role in work.roles]
    Server.objects.filter(pk=server.pk).update(
        roles=roles, capacity=work.capacity, takes_untrusted=bool(roles) and work.takes_untrusted
    )
    server.refresh_from_db()
    tell(server, "changed")
    if roles:
        find_drivers(server)
        placing.wake()


def check(server: Server, work: Work) -> None:
    """Goes on when such work may be placed on it. Raises ValidationError."""
    faults = {}
    if wrong := set(work.roles) - set(placing.ROLES):
        faults["roles"] = f"There is no role {', '.join(sorted(wrong))}."
    if not 1 <= work.capacity <= MOST_AT_ONCE:
        faults["capacity"] = f"Use 1 to {MOST_AT_ONCE}."
    if work.roles and server.state not in ENROLLED:
        faults["roles"] = f"{server.name} is {server.state}: enrol it first."
    if faults:
        raise ValidationError(faults)


def find_drivers(server: Server) -> list[str]:
    """Ask it now for the files of runners of which nobody knows whether it shares their disk; those that drive it."""
    for one in hosting.untried(Q(pk=server.pk)):
        if hosting.keep_proofs(one, hosting.proved(one)):
            placing.wake()
    server.refresh_from_db()
    return hosting.drivers(server)


def drain(server: Server, *, because: str) -> bool:
    """No new work is placed on it; what it has goes on to its end."""
    return server.state == ServerState.TRUSTED and move(server, ServerState.DRAINING, because=because)


def enable(server: Server, *, because: str) -> bool:
    """Work is placed on it again; one that was disabled is asked again, and must be enrolled."""
    if server.state != ServerState.DRAINING:
        return server.state == ServerState.DISABLED and quarantine(server, because=because)
    moved = move(server, ServerState.TRUSTED, because=because)
    if moved:
        placing.wake()
    return moved


def quarantine(server: Server, *, because: str) -> bool:
    """It is not trusted any more, or asked again after it was disabled; its password is forgotten, and what it has
    under way is taken from it."""
    if server.state not in (*ENROLLED, ServerState.DISABLED):
        return False
    return _close(server, ServerState.QUARANTINED, because)


def disable(server: Server, *, because: str) -> bool:
    """It is not asked any more, and stays in the list, so that it is not found anew; what it has under way is taken
    from it."""
    if server.state in UNASKED:
        return False
    return _close(server, ServerState.DISABLED, because)


def _close(server: Server, to: ServerState, because: str) -> bool:
    if not move(server, to, because=because, username="", password="", roles=[], takes_untrusted=False):
        return False
    for execution in hosting.on(server):
        why = f"its server {server.name} is {to}"
        executions.end(execution, ExecutionState.LOST, reason="released", because=why)
    return True


def remove(server: Server) -> None:
    """It is gone from the list. Raises ValidationError for one that would come back by itself."""
    if hosting.on(server):
        raise ValidationError(f"{server.name} is at work. Drain or disable it first, and remove it then.")
    if stays(server):
        raise ValidationError(f"{server.name} announces itself and would be found again: disable it instead.")
    with transaction.atomic():
        tell(server, "removed")
        server.delete()


def stays(server: Server) -> bool:
    """Whether it would come back by itself."""
    return not server.is_given and server.state not in (ServerState.LOST, ServerState.DISABLED)


def probe(server: Server) -> Health | NoServer:
    """Ask it now, and keep what came of it."""
    secret = _kept(server) if server.state in ENROLLED else ""
    one = Locked("", server.pk, server.url, server.is_given, server.username, secret)
    answer = asked(one, seconds=handshake.ASK_SECONDS)
    keep(server, answer)
    if isinstance(answer, Health):
        find_drivers(server)
    return answer


def history(server: Server) -> list[Event]:
    """What happened to it, the last first."""
    mine = Q(payload__id=str(server.pk)) | Q(payload__server=str(server.pk))
    events = Event.objects.filter(mine, subject="team", kind__in=["server.moved", "server.changed"])
    return list(events.order_by("-seq")[:SHOWN])


def tell(row: Server, what: str) -> None:
    publish("team", "server.changed", server=str(row.pk), name=row.name, url=row.url, version=row.version, what=what)
