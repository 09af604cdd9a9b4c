"""Signing in: by password, with a limit on guesses, or by a one-time link."""

import hashlib
from datetime import timedelta

import structlog
from django.contrib.auth import authenticate, login
from django.core.cache import cache
from django.http import HttpRequest

from tenants import tokens
from tenants.hosts import public_url
from tenants.models import Team, Token, User
from tenants.models.tokens import TokenKind

logger = structlog.get_logger(__name__)

LINK_LIFE = timedelta(minutes=15)
WINDOW = timedelta(minutes=5)
GUESSES = 8
"""Wrong passwords for one account from one address in a window."""
GUESSES_PER_ADDRESS = 60
"""Wrong passwords from one address in a window, whatever the account."""


class TooManyTries(Exception):
    """Wait before the next try."""


class WrongPassword(Exception):
    """No account has this mail address and password, or it is not active."""


def by_password(request: HttpRequest, email: str, password: str) -> User:
    """Sign in. Raises TooManyTries or WrongPassword."""
    counters = _counters(request, email)
    if any(cache.get(key, 0) >= limit for key, limit in counters.items()):
        raise TooManyTries
    user = authenticate(request, username=email.strip().lower(), password=password)
    if user is None:
        for key in counters:
            cache.add(key, 0, WINDOW.total_seconds())
            cache.incr(key)
        logger.info("sign-in refused", client=_client(request))
        raise WrongPassword
    assert isinstance(user, User)
    cache.delete(next(iter(counters)))
    login(request, user)
    return user


def _client(request: HttpRequest) -> str:
    return str(request.META.get("REMOTE_ADDR", ""))


def _counters(request: HttpRequest, email: str) -> dict[str, int]:
    who = hashlib.sha256(f"{_client(request)} {email.strip().lower()}".encode()).hexdigest()
    return {f"guesses:{who}": GUESSES, f"guesses:{_client(request)}": GUESSES_PER_ADDRESS}


def link_for(user: User, team: Team | None = None) -> str:
    """An address that signs this user in once, within 15 minutes, and leads to the team."""
    _, secret = tokens.issue(TokenKind.SIGNIN, user=user, team=team, life=LINK_LIFE)
    return public_url(f"/signin/{secret}/")


def link_token(secret: str) -> Token | None:
    """The live token of a sign-in link, not spent by looking."""
    token = tokens.find(secret, TokenKind.SIGNIN)
    return token if token and token.user and token.user.is_active else None


def by_link(request: HttpRequest, secret: str) -> Token | None:
    """Sign in by a link and spend it; None when it is spent, too old or unknown."""
    if link_token(secret) is None:
        return None
    token = tokens.spend(secret, TokenKind.SIGNIN)
    if token is None or token.user is None:
        return None
    login(request, token.user, backend="django.contrib.auth.backends.ModelBackend")
    return token
