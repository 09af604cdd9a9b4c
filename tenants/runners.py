"""Registering runners."""

from django.db import transaction
from django.utils import timezone

from tenants import tokens
from tenants.models import Runner, Team, Token
from tenants.models.tokens import TokenKind


def register(name: str, *, team: Team | None = None, trusted: bool = True) -> str:
    """A runner with this name and a new token, whose secret is returned; a former token ends.

    Raises ValueError when another team has a runner of this name.
    """
    with transaction.atomic():
        runner = Runner.objects.select_for_update().filter(name=name).first()
        if runner and runner.team_id != (team.pk if team else None):
            raise ValueError(f"There is a runner {name} already, of another team. Choose another name.")
        token, secret = tokens.issue(TokenKind.RUNNER, team=team, subject=f"runner:{name}")
        if runner is None:
            Runner.objects.create(name=name, team=team, token=token, trusted=trusted)
            return secret
        former = runner.token_id
        Runner.objects.filter(pk=runner.pk).update(token=token, trusted=trusted)
        Token.objects.filter(pk=former).update(revoked_at=timezone.now())
        return secret
