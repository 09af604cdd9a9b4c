"""Programs of a member: tokens that speak for the member in one team, with the member's role of the moment."""

from datetime import timedelta

from django.db.models import Q, QuerySet
from django.utils import timezone

from tenants import tokens
from tenants.models import Membership, Team, Token
from tenants.models.tokens import TokenKind

LONGEST = 366
"""Days that a token may live."""
_USED_EVERY = timedelta(minutes=1)


def issue(member: Membership, *, name: str, days: int) -> tuple[Token, str]:
    """A new token and its secret, which cannot be read again; `name` tells the member what uses it."""
    return tokens.issue(
        TokenKind.API, team=member.team, user=member.user, subject=f"program:{name}", life=timedelta(days=days)
    )


def of(member: Membership) -> QuerySet[Token]:
    """The member's live tokens, the newest first."""
    live = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    found = Token.objects.filter(live, kind=TokenKind.API, team=member.team_id, user=member.user_id, revoked_at=None)
    return found.order_by("-created_at")


def revoke(token: Token) -> bool:
    """End a token at once. False when it had ended before."""
    return bool(Token.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now()))


def revoke_all(member: Membership) -> None:
    """End all tokens of a member who leaves the team."""
    of(member).update(revoked_at=timezone.now())


def member_of(secret: str, team: Team) -> Membership | None:
    """The member that a program speaks for: None unless its token is live and its owner is in the team, now."""
    token = tokens.find(secret, TokenKind.API)
    if token is None or token.team_id != team.pk or token.user is None or not token.user.is_active:
        return None
    member = Membership.objects.select_related("user").filter(team=team, user=token.user).first()
    if member and (token.used_at is None or token.used_at < timezone.now() - _USED_EVERY):
        Token.objects.filter(pk=token.pk).update(used_at=timezone.now())
    return member
