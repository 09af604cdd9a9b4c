"""Registering runners, and the one secret that each has."""

from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from tenants import tokens
from tenants.models import Runner, Team, Token
from tenants.models.tokens import TokenKind

MOST = 100
"""Runners of one team."""


class Taken(ValueError):
    """Another runner that serves the team has this name."""


class TooMany(ValueError):
    """The team has as many runners as it may have."""


def of(team: Team) -> QuerySet[Runner]:
    """The runners of a team's own."""
    return Runner.objects.filter(team=team)


@transaction.atomic
def add(name: str, *, team: Team, trusted: bool) -> tuple[Runner, str]:
    """Another runner of a team's own, and its token. Raises Taken or TooMany."""
    if of(team).count() >= MOST:
        raise TooMany(f"A team has at most {MOST} runners of its own. Remove one that nobody needs.")
    if Runner.objects.filter(Q(team=team) | Q(team=None), name=name).exists():
        raise Taken(f"There is a runner {name} already. Choose another name.")
    token, secret = tokens.issue(TokenKind.RUNNER, team=team, subject=f"runner:{name}")
    return Runner.objects.create(name=name, team=team, token=token, trusted=trusted), secret


@transaction.atomic
def renew(runner: Runner, *, trusted: bool | None = None) -> str:
    """A new token for a runner; the one before ends, and with it the runner's connection."""
    token, secret = tokens.issue(TokenKind.RUNNER, team=runner.team, subject=f"runner:{runner.name}")
    # Who comes with the new one need not wait for the end of who had the former.
    changes = {"token": token, "boot": None} | ({} if trusted is None else {"trusted": trusted})
    former = runner.token_id
    Runner.objects.filter(pk=runner.pk).update(**changes)
    _end(former)
    return secret


def end(runner: Runner) -> None:
    """A runner may not come again: its token ends. What it holds goes to others when its leases run out."""
    _end(runner.token_id)


def _end(token: UUID) -> None:
    Token.objects.filter(pk=token, revoked_at=None).update(revoked_at=timezone.now())


def register(name: str, *, team: Team | None = None, trusted: bool = True) -> str:
    """A runner with this name, made if there is none, and a new token, whose secret is returned; a former one ends.

    Raises Taken when a runner of the platform has the name that one of a team shall have.
    """
    with transaction.atomic():
        runner = Runner.objects.select_for_update(of=("self",)).filter(name=name, team=team).first()
        if runner is not None:
            return renew(runner, trusted=trusted)
        if team is not None:
            return add(name, team=team, trusted=trusted)[1]
        token, secret = tokens.issue(TokenKind.RUNNER, subject=f"runner:{name}")
        Runner.objects.create(name=name, token=token, trusted=trusted)
        return secret
