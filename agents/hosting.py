"""Enrolled servers as places to work: which runner can drive which of them, how full they are, who may use them.

An agent's tools run on the server, and its clone is made by a runner: both must see one disk. A runner says in its
Hello which file of its own says who it is; the server is asked for that file.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Q

from agents import breakers, handshake
from agents.handshake import NoServer
from agents.models import Execution, Server
from agents.server_choice import Host
from agents.standings import connected
from agents.states import ENROLLED, LIVE, ExecutionState
from tenants.context import current_schema, each_team, in_schema
from tenants.models import Runner
from tenants.secrets import CannotUnseal, unseal
from tenants.turns import current_team_id

logger = structlog.get_logger(__name__)

REST = timedelta(seconds=60)
"""How long a server on which an attempt was lost gets no other one."""


@dataclass(frozen=True)
class Proof:
    """A runner's file, to be read by a server."""

    runner: UUID
    boot: UUID
    path: str


@dataclass(frozen=True)
class Untried:
    """A server that takes work, and the runners of which nobody knows whether it shares their disk."""

    schema: str
    pk: UUID
    url: str
    is_given: bool
    username: str
    password: str
    proofs: tuple[Proof, ...]


def _runners() -> list[Runner]:
    """Those that are connected and may drive this team's servers: its own. Those of all teams hold what is others', and
    do so only where all is one person's."""
    mine = Q(team=current_team_id()) | (Q(team=None) if settings.LOCAL_SERVERS else Q(pk=None))
    return list(connected().filter(mine).exclude(boot=None))


def _shares(server: Server, runner: Runner) -> bool:
    return server.shared_with.get(str(runner.pk)) == str(runner.boot)


def hosts() -> list[Host]:
    """The team's servers on which work may be placed, as they are now."""
    rows = list(Server.objects.exclude(roles=[]))
    busy = _busy()
    runners = _runners() if rows else []
    return [
        Host(
            id=str(row.pk),
            name=row.name,
            url=row.url,
            state=row.state,
            roles=tuple(row.roles),
            capacity=row.capacity,
            busy=len(busy.get(str(row.pk), ())),
            runners=tuple(runner.name for runner in runners if _shares(row, runner)),
            takes_untrusted=row.takes_untrusted,
            shut=_shut(row),
        )
        for row in rows
    ]


def _busy() -> dict[str, list[UUID]]:
    """Executions under way on servers, by server."""
    found: dict[str, list[UUID]] = {}
    live = Execution.objects.filter(state__in=LIVE, placed__has_key="server")
    for server, pk in live.order_by("created_at").values_list("placed__server", "pk"):
        found.setdefault(server, []).append(pk)
    return found


def on(server: Server) -> list[UUID]:
    """The executions that are under way on a server."""
    return _busy().get(str(server.pk), [])


def drivers(server: Server) -> list[str]:
    """The connected runners that share its disk."""
    return [runner.name for runner in _runners() if _shares(server, runner)]


# Health


def breaker(server: Server | str) -> breakers.Breaker:
    """What leaves a server alone on which attempts are lost."""
    pk = server if isinstance(server, str) else server.pk
    return breakers.of_server(current_schema(), str(pk))


def _shut(server: Server) -> str:
    if server.fault:
        return f"its last probe failed: {server.fault}"
    found = breaker(server).shut()
    return found.why if found else ""


def noted(execution: Execution) -> None:
    """An execution has ended: where its runner says that it was lost, the server on which it worked rests a while."""
    server = execution.placed.get("server")
    if server and execution.outcome and execution.state == ExecutionState.LOST:
        transaction.on_commit(partial(_rest, current_schema(), str(server), execution.because), robust=True)


def _rest(schema: str, server: str, why: str) -> None:
    with in_schema(schema):
        breakers.rest(breaker(server), why, REST)


# Access


def opened(execution: Execution) -> dict[str, Any]:
    """An assignment as it is kept, with the password of the server on which it is carried out: for its runner alone."""
    stored = dict(execution.assignment)
    if host := stored.get("host"):
        server = Server.objects.filter(pk=host["id"], state__in=ENROLLED).first()
        # Without its password it will be refused there, and nothing else is held up.
        stored["host"] = host | (credentials(server) if server else {})
    return stored


def credentials(server: Server) -> dict[str, str]:
    """What a server wants of who asks it; nothing where that cannot be read."""
    try:
        return {"username": server.username, "password": unseal(server, "password")}
    except CannotUnseal as error:
        logger.error("a server's password cannot be read", server=server.name, error=str(error))
        return {}


# Proof that a server and a runner share a disk


def untried(which: Q | None = None) -> list[Untried]:
    """The servers of this team that take work, with the runners that are to be tried."""
    found = []
    runners = [runner for runner in _runners() if runner.proof]
    for row in Server.objects.filter(which or Q(), state__in=ENROLLED).exclude(roles=[]):
        proofs = tuple(
            Proof(runner.pk, runner.boot, runner.proof)
            for runner in runners
            if runner.boot is not None and not _shares(row, runner)
        )
        if proofs and (secret := credentials(row)):
            found.append(Untried(current_schema(), row.pk, row.url, row.is_given, proofs=proofs, **secret))
    return found


def untried_everywhere() -> list[Untried]:
    """The same, of every team."""
    found = []
    for schema in each_team():
        with in_schema(schema):
            found += untried()
    return found


def proved(one: Untried) -> tuple[Proof, ...]:
    """Have the server read each of the files; those that it read. Needs no database."""
    return tuple(proof for proof in one.proofs if _reads(one, proof))


def _reads(one: Untried, proof: Proof) -> bool:
    rule = handshake.given_rule() if one.is_given else handshake.announced_rule()
    path = PurePosixPath(proof.path)
    try:
        text = handshake.Known(one.url, rule, one.username, one.password).read(str(path.parent), path.name)
    except NoServer as error:
        logger.info("a server was not asked for a runner's file", url=one.url, error=str(error))
        return False
    return text.strip() == str(proof.boot)


def keep_proofs(one: Untried, proofs: Iterable[Proof]) -> bool:
    """Remember which runners share the server's disk. Within the team's schema. Returns whether that is news."""
    known = {str(proof.runner): str(proof.boot) for proof in proofs}
    row = Server.objects.filter(pk=one.pk, state__in=ENROLLED).first()
    if row is None or not known:
        return False
    there = {str(pk) for pk in Runner.objects.filter(pk__in=row.shared_with).values_list("pk", flat=True)}
    kept = {runner: boot for runner, boot in row.shared_with.items() if runner in there}
    Server.objects.filter(pk=row.pk).update(shared_with=kept | known)
    return True
