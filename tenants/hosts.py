"""Addresses of pages: of the public host and of teams' hosts."""

from urllib.parse import urlsplit

from django.conf import settings
from django.utils.http import url_has_allowed_host_and_scheme

from tenants.models import Team


def public_url(path: str = "/") -> str:
    """A page of the public host."""
    return settings.PUBLIC_URL + path


def domain_for(slug: str) -> str:
    """The host name of a team with this address."""
    return f"{slug}.{settings.WAGGLE_HOST}"


def team_url(team: Team, path: str = "/") -> str:
    """A page of a team's host."""
    return url_of_host(team.get_primary_domain().domain, path)


def url_of_host(domain: str, path: str = "/") -> str:
    """A page of one of our hosts, with the scheme and port of the public one."""
    public = urlsplit(settings.PUBLIC_URL)
    port = f":{public.port}" if public.port else ""
    return f"{public.scheme}://{domain}{port}{path}"


def safe_next(url: str, default: str = "") -> str:
    """The address to go on to after signing in, if it is one of ours; else the default (the public start page)."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    ours = host == settings.WAGGLE_HOST or host.endswith(f".{settings.WAGGLE_HOST}")
    if ours and parts.netloc.lower() != urlsplit(url_of_host(host)).netloc:
        ours = False  # another port is another program, and a name before the host is there to deceive
    if url_has_allowed_host_and_scheme(
        url,
        allowed_hosts={parts.netloc} if ours else set(),
        require_https=settings.PUBLIC_URL.startswith("https://"),
    ):
        return url if parts.netloc else public_url(url)
    return default or public_url()
