"""Who may listen to which topics: one synchronous question, asked again while the stream is open."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest, parse_cookie

from sessions import topics
from sessions.models import Event, Stream
from tenants import tokens
from tenants.context import PUBLIC, in_schema
from tenants.middleware import find_team
from tenants.models import Membership, Team
from tenants.states import TeamState

_PATH_FORM = re.compile(r"^/t/(?P<slug>[^/]+)/events$")
REPLAY_LIMIT = 5000
"""Events that a stream replays; who missed more starts from a fresh page."""


class Refused(Exception):
    """No stream: the HTTP status and what to say."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


NOT_FOUND = (404, "Not found.")


@dataclass(frozen=True)
class Request:
    """What a client asks for, out of the ASGI scope."""

    path: str
    host: str
    headers: Mapping[str, str]
    topics: tuple[str, ...]
    after: int | None
    """The last position that the client has seen; None: from now on."""
    is_page: bool = False
    """It shows HTML; programs get JSON."""

    @classmethod
    def of(cls, scope: Mapping[str, object]) -> "Request":
        """Read the scope of an HTTP request. Raises Refused."""
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}  # type: ignore[attr-defined]
        query = parse_qs(bytes(scope["query_string"]).decode("latin-1"))  # type: ignore[call-overload]
        after = headers.get("last-event-id") or query.get("after", [""])[0]
        if after and not (after.isascii() and after.isdigit() and len(after) < 19):
            raise Refused(400, "after and Last-Event-ID must be the id of an event, for example after=12.")
        return cls(
            path=str(scope["path"]),
            host=headers.get("host", ""),
            headers=headers,
            topics=tuple(query.get("topic", [])),
            after=int(after) if after else None,
            is_page=_wants_html(query.get("as", [""])[0], headers.get("accept", "")),
        )


def _wants_html(form: str, accepts: str) -> bool:
    """What is asked for by ?as=, or else by Accept. Raises Refused."""
    if form not in ("", "json", "html"):
        raise Refused(400, "as must be json or html.")
    return form == "html" or (not form and "text/html" in accepts)


@dataclass(frozen=True)
class Listener:
    """A client that may listen."""

    schema: str
    user: UUID | None
    """Whose stream it is; None for a program that belongs to the team alone."""
    topics: frozenset[str]
    position: int
    """Where the team's stream is now."""
    is_page: bool = False


def admit(request: Request) -> Listener:
    """Let a client in, or say why not. Raises Refused. Strangers and missing objects get the same answer."""
    team, user = identify(request)
    try:
        wanted = topics.parse(list(request.topics), most=topics.MOST_OF_PAGES if request.is_page else topics.MOST)
    except topics.UnknownTopic:
        raise Refused(*NOT_FOUND) from None
    with in_schema(team.schema_name):
        if topics.missing(wanted):
            raise Refused(*NOT_FOUND)
    return Listener(team.schema_name, user, wanted, last_position(team.schema_name), request.is_page)


def identify(request: Request) -> tuple[Team, UUID | None]:
    """The team and the member, or program, that asks. Raises Refused."""
    with in_schema(PUBLIC):
        if by_path := _PATH_FORM.match(request.path):
            return _program(request, by_path["slug"])
        return _member(request)


def _member(request: Request) -> tuple[Team, UUID]:
    _refuse_other_origins(request)
    team = find_team(domain=_hostname(request.host))
    user = _signed_in(request)
    if team is None or team.state != TeamState.READY or user is None:
        raise Refused(*NOT_FOUND)
    _refuse_strangers(team, user)
    return team, user


def _program(request: Request, slug: str) -> tuple[Team, UUID | None]:
    secret = tokens.bearer(request.headers.get("authorization", ""))
    token = tokens.find(secret, "api") if secret else None
    if token is None:
        raise Refused(401, "Send a live API token of the team: Authorization: Bearer wg_…")
    team = find_team(slug=slug) if "\0" not in slug else None
    if team is None or team.state != TeamState.READY or token.team_id != team.pk:
        raise Refused(*NOT_FOUND)
    if token.user_id is not None:
        _refuse_strangers(team, token.user_id)
    return team, token.user_id


def _refuse_strangers(team: Team, user: UUID) -> None:
    if not Membership.objects.filter(team=team, user=user, user__is_active=True).exists():
        raise Refused(*NOT_FOUND)


def _refuse_other_origins(request: Request) -> None:
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin")
    if site not in ("same-origin", "none") or (origin and _host_of(origin) != request.host):
        raise Refused(403, "Live events are only for pages of the same host.")


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _hostname(host: str) -> str:
    return host.rsplit(":", 1)[0].lower()


def _signed_in(request: Request) -> UUID | None:
    key = parse_cookie(request.headers.get("cookie", "")).get(settings.SESSION_COOKIE_NAME)
    if not key or "\0" in key:
        return None
    visit = HttpRequest()
    visit.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    user = get_user(visit)
    return user.pk if user.is_authenticated else None


def last_position(schema: str) -> int:
    """Where a team's stream is now."""
    with in_schema(schema):
        return Stream.objects.values_list("last_position", flat=True).first() or 0


def replay(schema: str, after: int, until: int | None, wanted: frozenset[str] | None) -> list[Event] | None:
    """A team's events at positions after `after` and before `until`, of these topics (None: of all).

    None when there are more than REPLAY_LIMIT.
    """
    with in_schema(schema):
        events = Event.objects.filter(position__gt=after).order_by("position")
        if until is not None:
            events = events.filter(position__lt=until)
        if wanted is not None:
            events = events.filter(topics.about(wanted))
        found = list(events[: REPLAY_LIMIT + 1])
    return found if len(found) <= REPLAY_LIMIT else None
