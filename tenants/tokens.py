"""Machine credentials: issue, find, renew, revoke."""

import hashlib
import secrets
from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

from tenants.models import Team, Token, User

ATTEMPT_LIFE = timedelta(minutes=15)


def digest(secret: str) -> str:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def issue(
    kind: str,
    *,
    team: Team | None = None,
    user: User | None = None,
    subject: str = "",
    life: timedelta | None = None,
) -> tuple[Token, str]:
    """A new token and its secret; the secret cannot be read again."""
    secret = "wg_" + secrets.token_urlsafe(32)
    token = Token.objects.create(
        kind=kind,
        hash=digest(secret),
        team=team,
        user=user,
        subject=subject,
        expires_at=timezone.now() + life if life else None,
    )
    return token, secret


def bearer(authorization: str) -> str:
    """The secret of an `Authorization: Bearer …` header; empty when it shows none, or something else."""
    scheme, _, secret = authorization.strip().partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def find(secret: str, kind: str) -> Token | None:
    """The live token of this kind, or None."""
    now = timezone.now()
    return (
        Token.objects.select_related("team", "user")
        .filter(Q(expires_at=None) | Q(expires_at__gt=now), hash=digest(secret), kind=kind, revoked_at=None)
        .first()
    )


def spend(secret: str, kind: str) -> Token | None:
    """Use a one-time token: of two that come at once, one gets it."""
    token = find(secret, kind)
    now = timezone.now()
    if token and Token.objects.filter(pk=token.pk, used_at=None, revoked_at=None).update(used_at=now, revoked_at=now):
        return token
    return None


def renew(*subjects: str, life: timedelta = ATTEMPT_LIFE) -> None:
    """Give all live tokens of these subjects more time."""
    Token.objects.filter(subject__in=subjects, revoked_at=None).update(expires_at=timezone.now() + life)


def revoke(subject: str) -> None:
    """End all tokens of a subject, in the transaction of whatever ended it."""
    Token.objects.filter(subject=subject, revoked_at=None).update(revoked_at=timezone.now())


def was_issued(secret: str, *, team: Team, subject: str) -> bool:
    """Whether this secret ever stood for the subject, revoked or not."""
    return Token.objects.filter(hash=digest(secret), team=team, subject=subject).exists()
