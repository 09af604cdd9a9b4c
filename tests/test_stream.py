"""Live events: who may listen, and that nobody misses anything or hears it twice."""

import asyncio
import json
import random
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import redis
import uvicorn
from django.conf import settings
from django.db import connection
from django.forms import model_to_dict
from django.test import Client as Browser
from django.test import override_settings
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from config.services.ports import free_port
from sessions import deltas, frames, hub, rooms, stream, topics
from sessions import relay as relay_module
from sessions.admission import Listener as Admitted
from sessions.admission import Refused, admit
from sessions.admission import Request as AskedFor
from sessions.events import acting, publish, publish_all
from sessions.models import Event, Session, Stream, Subject
from sessions.relay import Relay, number, relay_once
from sessions.topics import stream_key
from tenants import tokens
from tenants.context import current_schema, in_schema
from tenants.models import Membership, Outbox, Team
from tenants.trace import begin_trace
from tests.conftest import user_of
from tests.web import Listener, Web, serve, until

DONE = {"by": "policy", "what": "start", "why": "nothing is in its way"}
Cookies = Callable[..., str]


@pytest.fixture(scope="module")
def web(django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with django_db_blocker.unblock(), serve("config.asgi:application", tmp_path_factory.mktemp("web")) as running:
        yield running


@pytest.fixture
def globex(committed_team: Team) -> Team:
    """The other team; its rows commit too."""
    return Team.objects.get(domains__slug="globex")


@pytest.fixture(autouse=True)
def no_streams_before(request: pytest.FixtureRequest) -> Iterator[None]:
    if "team" in request.fixturenames:
        yield
        return
    acme, globex = request.getfixturevalue("committed_team"), request.getfixturevalue("globex")
    with redis.Redis.from_url(settings.STREAM_URL) as client:
        client.delete(stream_key(acme.schema_name), stream_key(globex.schema_name))
    yield
    with in_schema(globex.schema_name):
        for model in (Event, Subject, Stream):
            model.objects.all().delete()


@pytest.fixture
def cookie(committed_team: Team) -> Cookies:
    def sign_in(name: str, team: str = "") -> str:
        browser = Browser()
        browser.force_login(user_of(name, team))
        return f"{settings.SESSION_COOKIE_NAME}={browser.cookies[settings.SESSION_COOKIE_NAME].value}"

    return sign_in


def listen(
    web: Web, cookie: str = "", names: tuple[str, ...] = ("team",), slug: str = "acme", **headers: str
) -> Listener:
    """A page of a team's host."""
    query = "&".join(f"topic={topic}" for topic in names)
    known = {"Host": f"{slug}.{settings.WAGGLE_HOST}:{settings.WAGGLE_PORT}", "Cookie": cookie}
    return Listener(web.port, f"/events?{query}", **known, **headers)


def happen(count: int = 1, subject: str = "team") -> list[Event]:
    events = publish_all(subject, [("decision.made", DONE)] * count)
    while relay_once():
        pass
    return events


def test_a_topic_has_one_spelling_and_must_exist(team: Team) -> None:
    known, unknown = uuid4(), uuid4()
    publish(f"swarm:{known}", "decision.made", **DONE)
    wanted = topics.parse([f"swarm:{str(known).upper()}", f"swarm:{known.hex}", f"swarm:{unknown}", "team"])
    assert wanted == {f"swarm:{known}", f"swarm:{unknown}", "team"}
    assert topics.missing(wanted) == {f"swarm:{unknown}"}


@pytest.mark.parametrize(("form", "most"), [("json", 20), ("html", 100)])
def test_a_stream_has_so_many_topics(team: Team, form: str, most: int) -> None:
    signed_in = Browser()
    signed_in.force_login(user_of("bob", "acme"))
    cookie = f"{settings.SESSION_COOKIE_NAME}={signed_in.cookies[settings.SESSION_COOKIE_NAME].value}"
    host = f"acme.{settings.WAGGLE_HOST}:{settings.WAGGLE_PORT}"
    headers = [(b"host", host.encode()), (b"cookie", cookie.encode())]
    for count, is_fine in ((most, True), (most + 1, False)):
        query = "&".join([f"as={form}", *["topic=team"] * count]).encode()
        asked = AskedFor.of({"path": "/events", "query_string": query, "headers": headers})
        if is_fine:
            assert admit(asked).topics == {"team"}
        else:
            with pytest.raises(Refused):
                admit(asked)


def test_an_event_arrives_whole_and_under_its_position(web: Web, cookie: Cookies) -> None:
    page = listen(web, cookie("bob", "acme"))
    assert page.status == 200, (page.answer.read(), web.log.read_text())
    assert page.answer.getheader("content-type") == "text/event-stream; charset=utf-8"
    assert page.answer.getheader("x-accel-buffering") == "no"
    (event,) = happen()
    until(lambda: page.messages)
    (message,) = page.messages
    assert (message.event, message.id) == ("change", "1")
    assert message.data == {
        "topic": "team",
        "seq": 1,
        "kind": "decision.made",
        "payload": {"by": "policy", "what": "start", "why": "nothing is in its way", "node": "", "is_told": False},
        "actor": "system",
        "at": event.at.isoformat(),
        "position": 1,
        "id": str(event.pk),
        "cause": None,
        "trace": event.trace,
    }
    page.cut()


def test_replayed_events_equal_live_ones(web: Web, cookie: Cookies) -> None:
    live = listen(web, cookie("bob", "acme"))
    publish("team", "decision.made", by="policy", what='quotes " and\nbreaks', why="é\u2028")
    relay_once()
    until(lambda: live.messages)
    replayed = listen(web, cookie("bob", "acme"), Last_Event_ID="0")
    until(lambda: replayed.messages)
    assert replayed.messages == live.messages
    live.cut()
    replayed.cut()


def test_a_stream_knows_where_it_is_before_anything_happens(web: Web, cookie: Cookies) -> None:
    happen(3)
    page = listen(web, cookie("bob", "acme"))
    until(lambda: page.last_id == "3")
    assert page.retry == [stream.RETRY_MS]
    assert page.messages == []
    page.cut()


def test_only_the_topics_asked_for_arrive(web: Web, cookie: Cookies) -> None:
    mine, other = f"swarm:{uuid4()}", f"swarm:{uuid4()}"
    happen(1, mine)
    happen(1, other)
    page = listen(web, cookie("bob", "acme"), names=(mine,), Last_Event_ID="0")
    happen(1, other)
    happen(1, mine)
    until(lambda: len(page.positions()) == 2)
    assert page.positions() == [1, 4]
    assert {message.data["topic"] for message in page.messages} == {mine}
    page.cut()


def test_teams_hear_only_themselves(web: Web, cookie: Cookies, committed_team: Team, globex: Team) -> None:
    acme_page, globex_page = listen(web, cookie("bob", "acme")), listen(web, cookie("bob", "globex"), slug="globex")
    happen(1)
    with in_schema(globex.schema_name):
        happen(2)
    happen(1)
    until(lambda: len(acme_page.messages) == 2 and len(globex_page.messages) == 2)
    assert [m.data["seq"] for m in acme_page.messages] == [1, 2]
    with in_schema(globex.schema_name):
        told = [(m.data["seq"], m.data["at"]) for m in globex_page.messages]
        assert told == [(e.seq, e.at.isoformat()) for e in Event.objects.order_by("seq")]
    acme_page.cut()
    globex_page.cut()


def test_strangers_and_missing_things_get_one_answer(web: Web, cookie: Cookies, globex: Team) -> None:
    with in_schema(globex.schema_name):
        foreign = f"swarm:{uuid4()}"
        happen(1, foreign)
    refused = [
        listen(web),
        listen(web, f"{settings.SESSION_COOKIE_NAME}=nonsense"),
        listen(web, cookie("charlie")),
        listen(web, cookie("bob", "globex")),
        listen(web, cookie("bob", "acme"), slug="nobody"),
        listen(web, cookie("bob", "acme"), names=(f"swarm:{uuid4()}",)),
        listen(web, cookie("bob", "acme"), names=(foreign,)),
        listen(web, cookie("bob", "acme"), names=("swarm:1",)),
        listen(web, cookie("bob", "acme"), names=("user:all",)),
        listen(web, cookie("bob", "acme"), names=()),
    ]
    assert {(page.status, page.answer.read()) for page in refused} == {(404, b"Not found.")}


def test_a_member_who_was_deactivated_is_a_stranger(web: Web, cookie: Cookies) -> None:
    user = user_of("bob", "acme")
    signed_in = cookie("bob", "acme")
    type(user).objects.filter(pk=user.pk).update(is_active=False)
    try:
        assert listen(web, signed_in).status == 404
    finally:
        type(user).objects.filter(pk=user.pk).update(is_active=True)


def test_a_session_without_events_can_be_listened_to(web: Web, cookie: Cookies) -> None:
    row = Session.objects.create(subject=f"swarm:{uuid4()}", title="tokens", agent="developer-1")
    page = listen(web, cookie("bob", "acme"), names=(f"session:{row.pk}",))
    assert page.status == 200
    page.cut()


@pytest.mark.parametrize(
    "headers", [{"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"}, {"Origin": "http://evil.example"}]
)
def test_pages_of_other_origins_are_refused(web: Web, cookie: Cookies, headers: dict[str, str]) -> None:
    assert listen(web, cookie("bob", "acme"), **headers).status == 403


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/events", {"origin": "http://["}, 403),
        ("/events", {"origin": "//[x]"}, 403),
        ("/events", {"cookie": f'{settings.SESSION_COOKIE_NAME}="\\000aaaaaaaaaaaa"'}, 404),
        ("/t/\0/events", {"authorization": "token"}, 404),
    ],
)
def test_nonsense_in_a_header_is_refused_and_no_error(
    team: Team, path: str, headers: dict[str, str], status: int
) -> None:
    if "authorization" in headers:
        headers = {"authorization": f"Bearer {tokens.issue('api', team=team)[1]}"}
    named = {"host": f"acme.{settings.WAGGLE_HOST}:{settings.WAGGLE_PORT}"} | headers
    words = [(name.encode(), value.encode()) for name, value in named.items()]
    with pytest.raises(Refused) as refused:
        admit(AskedFor.of({"path": path, "query_string": b"topic=team", "headers": words}))
    assert refused.value.status == status


def test_a_cookie_with_a_nul_is_no_error_of_a_page(team: Team) -> None:
    browser = Browser(headers={"host": f"acme.{settings.WAGGLE_HOST}:{settings.WAGGLE_PORT}"})
    browser.cookies.load(f'{settings.SESSION_COOKIE_NAME}="\\000aaaaaaaaaaaa"')
    assert browser.get("/").status_code == 400


def test_a_page_of_the_same_origin_is_let_in(web: Web, cookie: Cookies) -> None:
    own = f"http://acme.{settings.WAGGLE_HOST}:{settings.WAGGLE_PORT}"
    page = listen(web, cookie("bob", "acme"), Sec_Fetch_Site="same-origin", Origin=own)
    assert page.status == 200
    page.cut()


@pytest.mark.parametrize("after", ["x", "-1", "9" * 30, "١"])
def test_an_id_that_is_none_is_named(web: Web, cookie: Cookies, after: str) -> None:
    page = listen(web, cookie("bob", "acme"), Last_Event_ID=after.encode().decode("latin-1"))
    assert page.status == 400
    assert b"after=12" in page.answer.read()


def test_programs_listen_with_a_token_and_never_with_a_cookie(
    web: Web, cookie: Cookies, committed_team: Team, globex: Team
) -> None:
    path = "/t/acme/events?topic=team&after=0"
    _, secret = tokens.issue("api", team=committed_team, user=user_of("bob", "acme"))
    _, foreign = tokens.issue("api", team=globex)
    _, attempt = tokens.issue("attempt", team=committed_team)
    _, stranger = tokens.issue("api", team=committed_team, user=user_of("charlie"))
    happen(2)
    program = Listener(web.port, path, Authorization=f"Bearer {secret}")
    until(lambda: program.positions() == [1, 2])
    program.cut()
    assert Listener(web.port, path, Cookie=cookie("bob", "acme")).status == 401
    assert Listener(web.port, path, Authorization=f"Bearer {attempt}").status == 401
    assert Listener(web.port, path, Authorization=f"Bearer {foreign}").status == 404
    assert Listener(web.port, path, Authorization=f"Bearer {stranger}").status == 404
    assert Listener(web.port, "/t/nobody/events?topic=team", Authorization=f"Bearer {secret}").status == 404


def test_a_client_that_is_cut_again_and_again_misses_nothing_and_hears_nothing_twice(
    web: Web, cookie: Cookies, committed_team: Team
) -> None:
    topic, signed_in, chance = f"swarm:{uuid4()}", cookie("bob", "acme"), random.Random(7)
    happen(1, topic)
    stop = threading.Event()
    relaying = threading.Thread(target=Relay().run, args=[stop])
    writing = threading.Thread(target=_write, args=[committed_team.schema_name, topic, 300])
    relaying.start()
    writing.start()
    log: list[int] = []
    try:
        last = "0"
        while writing.is_alive() or len(log) < 301:
            page = listen(web, signed_in, names=(topic,), Last_Event_ID=last)
            seen = len(log)
            page.is_closed.wait(chance.uniform(0.01, 0.3))
            page.cut()
            log += page.positions()
            last = page.last_id or last
            assert len(log) > seen or writing.is_alive() or len(log) == 301
    finally:
        writing.join()
        stop.set()
        relaying.join(timeout=20)
    table = Event.objects.filter(subject=topic).order_by("position").values_list("position", flat=True)
    assert log == list(table)
    assert len(log) == 301


def _write(schema: str, topic: str, count: int) -> None:
    try:
        with in_schema(schema):
            for number_ in range(count):
                publish(topic if number_ % 2 else "team", "decision.made", **DONE)
                if number_ % 2 == 0:
                    publish(topic, "decision.made", **DONE)
    finally:
        connection.close()


def test_what_redis_lost_is_fetched_from_the_database(web: Web, cookie: Cookies, committed_team: Team) -> None:
    page = listen(web, cookie("bob", "acme"))
    happen(1)
    until(lambda: page.positions() == [1])
    publish_all("team", [("decision.made", DONE)] * 2)
    number(committed_team.pk)
    Outbox.objects.all().delete()
    happen(1)
    until(lambda: len(page.positions()) == 4)
    assert page.positions() == [1, 2, 3, 4]
    page.cut()


def test_entries_of_another_version_are_fetched_from_the_database(
    web: Web, cookie: Cookies, committed_team: Team
) -> None:
    page = listen(web, cookie("bob", "acme"))
    key = stream_key(committed_team.schema_name)
    with redis.Redis.from_url(settings.STREAM_URL) as client:
        for position in (1, 2):
            publish("team", "decision.made", **DONE)
            number(committed_team.pk)
            client.xadd(key, {"position": position, "subject": "team", "payload": "{}"}, id=f"{position}-0")
    Outbox.objects.all().delete()
    until(lambda: len(page.messages) == 2)
    happen(1)
    until(lambda: len(page.messages) == 3)
    assert [(one.id, one.data["kind"]) for one in page.messages] == [(str(n), "decision.made") for n in (1, 2, 3)]
    page.cut()


def test_without_redis_events_come_from_the_database(cookie: Cookies, committed_team: Team, tmp_path: Path) -> None:
    with serve("config.asgi:application", tmp_path, REDIS_URL="redis://127.0.0.1:1") as web:
        page = listen(web, cookie("bob", "acme"))
        publish_all("team", [("decision.made", DONE)] * 2)
        number(committed_team.pk)
        until(lambda: page.positions() == [1, 2])
        page.cut()


def test_live_text_arrives_without_an_id(web: Web, cookie: Cookies, committed_team: Team) -> None:
    row = Session.objects.create(subject=f"swarm:{uuid4()}", title="tokens", agent="developer-1")
    page = listen(web, cookie("bob", "acme"), names=(f"session:{row.pk}",))
    piece = deltas.Piece(uuid4(), 3, "more\ntext")

    def push() -> bool:
        deltas.push(committed_team.schema_name, row.pk, [piece])
        return bool(page.messages)

    until(push)
    message = page.messages[0]
    assert (message.event, message.id) == ("delta", None)
    assert message.data == {"session": str(row.pk), "part": str(piece.part), "offset": 3, "text": "more\ntext"}
    page.cut()


def test_many_idle_streams_hold_no_database_connections(cookie: Cookies, tmp_path: Path) -> None:
    signed_in = [cookie(name, "acme") for name in ("alice", "bob", "vera")]
    with serve("config.asgi:application", tmp_path, WAGGLE_DATABASE_POOL="2") as web:
        before = _connections()
        pages = [listen(web, signed_in[number_ % 3]) for number_ in range(45)]
        assert [page.status for page in pages] == [200] * 45
        assert _connections() - before <= 2
        assert _in_use() == 0
        last = listen(web, cookie("charlie"))
        assert last.status == 404
        happen(1)
        until(lambda: all(page.positions() == [1] for page in pages))
        for page in pages:
            page.cut()


def _connections() -> int:
    return _count("")


def _in_use() -> int:
    return _count("AND state <> 'idle'")


def _count(condition: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            f"AND backend_type = 'client backend' AND pid <> pg_backend_pid() {condition}"
        )
        return int(cursor.fetchone()[0])


def test_a_user_has_twenty_streams_and_a_closed_one_frees_its_place_at_once(web: Web, cookie: Cookies) -> None:
    signed_in = cookie("vera", "acme")
    pages = [listen(web, signed_in) for _ in range(hub.STREAMS_PER_USER)]
    refused = listen(web, signed_in)
    assert refused.status == 429
    assert b"Close some pages" in refused.answer.read()
    assert listen(web, cookie("bob", "acme")).status == 200
    pages.pop().cut()

    def again() -> bool:
        page = listen(web, signed_in)
        if page.status == 200:
            pages.append(page)
        return page.status == 200

    until(again)
    for page in pages:
        page.cut()


def test_a_process_that_ends_closes_its_streams_and_says_when_to_come_back(cookie: Cookies, tmp_path: Path) -> None:
    with serve("config.asgi:application", tmp_path) as web:
        pages = [listen(web, cookie("bob", "acme")) for _ in range(5)]
        happen(1)
        until(lambda: all(page.positions() == [1] for page in pages))
        web.end()
        until(lambda: all(page.is_closed.is_set() for page in pages))
        waits = [page.retry[-1] for page in pages]
        assert all(len(page.retry) == 2 for page in pages)
        assert len(set(waits)) > 1
        assert "Traceback" not in web.log.read_text()


# From here on the application runs in this process, with shorter times.


class Visit:
    """An ASGI request whose answer is collected."""

    def __init__(self, cookie: str, after: int | None = None, topic: str = "team", slug: str = "acme") -> None:
        host = f"{slug}.{settings.WAGGLE_HOST}:{settings.WAGGLE_PORT}"
        headers = [(b"host", host.encode()), (b"cookie", cookie.encode())]
        if after is not None:
            headers.append((b"last-event-id", str(after).encode()))
        query = f"topic={topic}".encode()
        self.scope = {"type": "http", "method": "GET", "path": "/events", "query_string": query, "headers": headers}
        self.gone = asyncio.Event()
        self.body = b""
        self.status = 0
        self.is_over = False
        self.task = asyncio.create_task(stream.events(self.scope, self._receive, self._send))

    async def _receive(self) -> dict[str, str]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.body += message["body"]
            self.is_over = not message.get("more_body", False)

    async def saw(self, text: bytes) -> None:
        """Wait until the answer holds this."""
        async with asyncio.timeout(20):
            while text not in self.body:
                await asyncio.sleep(0.01)

    async def leave(self) -> None:
        """Hang up."""
        self.gone.set()
        await self.task


def test_a_team_has_so_many_streams_whoever_opens_them(cookie: Cookies, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "STREAMS_PER_TEAM", 2)  # so_many_streams

    async def crowd() -> None:
        visits = [Visit(one) for one in signed_in[:2]]
        for visit in visits:
            await visit.saw(b"retry:")
        third = Visit(signed_in[2])
        await third.saw(b"The team has 2 live streams open")
        assert third.status == 429
        await visits[0].leave()
        again = Visit(signed_in[2])
        await again.saw(b"retry:")
        for visit in (visits[1], again):
            await visit.leave()

    signed_in = [cookie(name, "acme") for name in ("alice", "bob", "vera")]
    asyncio.run(crowd())


def test_a_quiet_stream_has_a_heartbeat(cookie: Cookies, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(hub, "BEAT_SECONDS", 0.02)

    async def watch() -> None:
        visit = Visit(signed_in)
        await visit.saw(frames.HEARTBEAT + frames.HEARTBEAT)
        await visit.leave()

    signed_in = cookie("bob", "acme")
    asyncio.run(watch())


def test_after_a_pause_without_readers_live_text_is_heard_again(
    cookie: Cookies, committed_team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "PING_SECONDS", 0.05)
    signed_in = cookie("bob", "acme")
    row = Session.objects.create(subject=f"swarm:{uuid4()}", title="tokens", agent="developer-1")

    async def watch() -> None:
        for text in ("first", "second"):
            visit = Visit(signed_in, topic=f"session:{row.pk}")
            await visit.saw(b"retry:")
            heard = next(iter(stream._hub_of_this_loop()._rooms.values())).hears
            assert heard.is_set()
            await asyncio.to_thread(deltas.push, committed_team.schema_name, row.pk, [deltas.Piece(uuid4(), 0, text)])
            await visit.saw(text.encode())
            await visit.leave()
            await asyncio.sleep(0.3)
        assert not stream._hub_of_this_loop().broken

    asyncio.run(watch())


@pytest.mark.parametrize("told_at", [0.0, 0.1, 7.0, 13.9])
def test_whether_a_reader_may_stay_is_asked_within_a_minute_whenever_something_was_sent(
    told_at: float,
) -> None:
    async def watch() -> None:
        client = rooms.Client(Admitted("t_x", None, frozenset({"team"}), 0))
        now, client.told_at, asked = told_at, told_at, 0
        while now < 1000:
            now += hub.BEAT_SECONDS
            assert now - client.told_at <= 15
            assert now - client.checked_at <= 60
            must = client.must_beat(now)
            if client.told_at + rooms.HEARTBEAT_SECONDS <= now:
                assert must
                client.told_at = now
            if client.checked_at + rooms.RECHECK_SECONDS <= now:
                assert must
                client.checked_at, asked = now, asked + 1
        assert asked >= 16

    asyncio.run(watch())


@pytest.mark.parametrize("heartbeat", [0.05, 60])
def test_who_is_removed_from_the_team_is_cut_off(
    cookie: Cookies, monkeypatch: pytest.MonkeyPatch, heartbeat: float
) -> None:
    monkeypatch.setattr(rooms, "HEARTBEAT_SECONDS", heartbeat)
    monkeypatch.setattr(rooms, "RECHECK_SECONDS", 0.1)
    monkeypatch.setattr(hub, "BEAT_SECONDS", 0.02)
    signed_in, other = cookie("vera", "acme"), cookie("bob", "acme")
    vera = Membership.objects.get(user=user_of("vera", "acme"))

    async def watch() -> None:
        removed, stays = Visit(signed_in), Visit(other)
        await removed.saw(b"id: ")
        await asyncio.to_thread(_run_and_close, Membership.objects.filter(pk=vera.pk).delete)
        async with asyncio.timeout(20):
            await removed.task
        assert removed.is_over
        assert not stays.is_over
        await stays.leave()

    try:
        asyncio.run(watch())
    finally:
        vera.save(force_insert=True)


def test_when_a_team_is_gone_its_streams_end_and_those_of_others_go_on(
    cookie: Cookies, globex: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "CHECK_SECONDS", 0.1)
    acme, other = cookie("bob", "acme"), cookie("bob", "globex")

    def move(before: str, after: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f'ALTER SCHEMA "{before}" RENAME TO "{after}"')

    async def watch() -> None:
        stays, goes = Visit(acme), Visit(other, slug="globex")
        await stays.saw(b"id: ")
        await goes.saw(b"id: ")
        await asyncio.to_thread(_run_and_close, lambda: move(globex.schema_name, "gone"))
        async with asyncio.timeout(20):
            await goes.task
        assert goes.is_over
        assert not stays.is_over
        await asyncio.to_thread(_run_and_close, lambda: happen(1))
        await stays.saw(b"id: 1\n")
        await stays.leave()

    try:
        asyncio.run(watch())
    finally:
        move("gone", globex.schema_name)


def _run_and_close(verb: Callable[[], object]) -> None:
    try:
        with in_schema(current_schema()):
            verb()
    finally:
        connection.close()


@pytest.mark.parametrize("after", [1, 900], ids=["too far behind", "from another life"])
def test_who_cannot_be_told_what_was_missed_starts_anew(
    cookie: Cookies, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    monkeypatch.setattr("sessions.admission.REPLAY_LIMIT", 5)
    happen(10)
    signed_in = cookie("bob", "acme")

    async def watch() -> None:
        visit = Visit(signed_in, after=after)
        await visit.saw(frames.reset(10).data)
        assert b"event: change" not in visit.body
        await asyncio.to_thread(_run_and_close, lambda: happen(1))
        await visit.saw(b"id: 11")
        await visit.leave()

    asyncio.run(watch())


def test_exactly_the_limit_is_replayed(cookie: Cookies, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sessions.admission.REPLAY_LIMIT", 5)
    happen(10)
    signed_in = cookie("bob", "acme")

    async def watch() -> None:
        visit = Visit(signed_in, after=5)
        await visit.saw(b"id: 10\n")
        assert visit.body.count(b"event: change") == 5
        await visit.leave()

    asyncio.run(watch())


def test_a_redis_that_no_longer_answers_is_taken_for_away(
    cookie: Cookies, committed_team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "CHECK_SECONDS", 0.1)
    monkeypatch.setattr(hub, "SILENCE_SECONDS", 0.1)
    monkeypatch.setattr(hub, "PAUSE_SECONDS", 0.1)
    signed_in = cookie("bob", "acme")

    async def watch() -> None:
        visit = Visit(signed_in)
        await visit.saw(b"retry:")
        await asyncio.to_thread(_run_and_close, lambda: (happen_unseen(), number(committed_team.pk)))
        await visit.saw(b"id: 2\n")
        await visit.leave()

    def happen_unseen() -> None:
        publish_all("team", [("decision.made", DONE)] * 2)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        override_settings(STREAM_URL=url)(asyncio.run)(watch())


def frame(position: int | None) -> frames.Frame:
    return frames.Frame("team", position, f"<{position}>".encode(), is_passing=position is None)


def test_a_slow_reader_is_told_and_closed_with_all_that_was_queued() -> None:
    async def fill() -> None:
        client = rooms.Client(Admitted("t_x", None, frozenset({"team"}), 0))
        for position in range(1, rooms.QUEUE + 10):
            client.offer(frame(position))
        assert client.last_words == frames.LAGGED
        assert client.take() == b"".join(frame(position).data for position in range(1, rooms.QUEUE + 1))
        client.offer(frame(rooms.QUEUE + 1))
        assert client.take() == b""

    asyncio.run(fill())


def test_who_is_behind_does_without_pieces_of_text_but_not_without_hints() -> None:
    async def fill() -> None:
        client = rooms.Client(Admitted("t_x", None, frozenset({"team"}), 0))
        for position in range(1, rooms.QUEUE // 2 + 1):
            client.offer(frame(position))
        client.offer(frames.of_passing(b'session:x\n{"text":"a"}'))
        client.offer(frames.ANY_HINT)
        assert client.take().endswith(frame(rooms.QUEUE // 2).data + frames.ANY_HINT.data)

    asyncio.run(fill())


def test_what_comes_in_one_go_is_one_write_and_a_full_buffer_is_waited_for() -> None:
    sent: list[bytes] = []
    writers: list[Any] = []

    def event(position: int) -> bytes:
        return frames.of_told("team", position, b"{}").data

    async def talk() -> None:
        room = rooms.Room("t_x", 0)
        client = rooms.Client(Admitted("t_x", None, frozenset({"team"}), 0))
        room.add(client)
        takes = asyncio.Event()
        takes.set()

        async def send(message: dict[str, Any]) -> None:
            await takes.wait()
            sent.append(message["body"])
            writers.append(asyncio.current_task())

        async def write() -> None:
            hand = stream.Hand(client, send)
            while True:
                await hand.rest()
                if data := client.take():
                    await send({"body": data})

        def told(positions: tuple[int, ...]) -> None:
            for position in positions:
                room.tell("team", position, b"{}")
            room.flush()

        def tell(*positions: int) -> None:
            asyncio.get_running_loop().call_soon(told, positions)

        writing = asyncio.create_task(write())
        await asyncio.sleep(0.01)
        tell(1, 2)
        await asyncio.sleep(0.01)
        assert sent == [event(1) + event(2)]
        assert writers == [None], "the writer was woken for it"
        takes.clear()
        tell(3)
        await asyncio.sleep(0.01)
        tell(4)
        await asyncio.sleep(0.01)
        assert len(sent) == 1
        takes.set()
        await asyncio.sleep(0.01)
        assert sent[1:] == [event(3), event(4)]
        assert writers[1:] == [writing, writing]
        tell(5)
        await asyncio.sleep(0.01)
        assert sent[3:] == [event(5)]
        assert writers[3:] == [None]
        writing.cancel()

    asyncio.run(talk())


def test_uvicorn_s_connection_is_written_to_without_a_message_for_each_event(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    told = [frame(position).data for position in range(1, 4)]
    client_of: list[rooms.Client] = []
    send_as_it_is = RequestResponseCycle.send

    async def send(cycle: RequestResponseCycle, message: Any) -> None:
        sent.append(message)
        await send_as_it_is(cycle, message)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        client_of.append(rooms.Client(Admitted("t_x", None, frozenset({"team"}), 0)))
        await stream.Hand(client_of[0], send).rest()
        await send({"type": "http.response.body", "body": client_of[0].take()})

    def tell(position: int) -> None:
        client_of[0].offer(frame(position))
        client_of[0].flush()

    async def talk() -> None:
        server = uvicorn.Server(uvicorn.Config(application, port=free_port(), lifespan="off", log_config=None))
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        url = f"http://127.0.0.1:{server.config.port}/"
        async with httpx.AsyncClient() as asking, asking.stream("GET", url) as answer:
            pieces = answer.aiter_raw()
            for position in (1, 2):
                tell(position)
                assert await anext(pieces) == told[position - 1]
            assert [message["type"] for message in sent] == ["http.response.start"]
            client_of[0].end(b"")
            assert [piece async for piece in pieces] == []
        server.should_exit = True
        await serving

    monkeypatch.setattr(RequestResponseCycle, "send", send)
    asyncio.run(talk())


def test_live_text_never_pushes_durable_events_out() -> None:
    async def fill() -> None:
        client = rooms.Client(Admitted("t_x", None, frozenset({"team"}), 0))
        for _ in range(rooms.QUEUE * 2):
            client.offer(frame(None))
        for position in range(1, rooms.QUEUE // 2 + 1):
            client.offer(frame(position))
        assert client.last_words is None
        assert client.take().endswith(frame(rooms.QUEUE // 2).data)

    asyncio.run(fill())


def test_a_client_that_takes_no_bytes_is_cut_off(cookie: Cookies, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "CLOSING_SECONDS", 0.1)
    signed_in = cookie("bob", "acme")

    async def watch() -> None:
        visit = Visit(signed_in)
        await visit.saw(b"retry:")
        stuck = asyncio.Event()

        async def never(message: dict[str, Any]) -> None:
            await stuck.wait()

        monkeypatch.setattr(visit, "_send", never)
        blocked = asyncio.create_task(stream.events(visit.scope, visit._receive, never))
        await asyncio.sleep(0.3)
        assert not blocked.done()
        stream._hub_of_this_loop().drain(stream._come_back())
        async with asyncio.timeout(20):
            await blocked
            await visit.task

    asyncio.run(watch())


def test_frames_from_redis_and_from_the_database_are_the_same_bytes(committed_team: Team) -> None:
    trace = begin_trace()
    with acting("user:é"):
        for what in ('"\n', "next"):
            publish("team", "decision.made", by="é", what=what, why="\\u0000 \u2028")
    number(committed_team.pk)
    first, second = Event.objects.order_by("position")
    for event, cause in ((first, None), (second, str(first.pk))):
        entry = relay_module.fields(event)
        told = entry["event"].encode()
        assert frames.of_told(entry["subject"], event.position or 0, told) == frames.of_event(event)
        assert model_to_dict(frames.event_of(told)) == model_to_dict(Event.objects.get(pk=event.pk))
        assert (frames.event_of(told).pk, frames.event_of(told).at) == (event.pk, event.at)
        data = json.loads(frames.of_event(event).data.split(b"data: ")[1])
        assert (data["payload"]["by"], data["actor"]) == ("é", "user:é")
        assert (data["id"], data["cause"], data["trace"]) == (str(event.pk), cause, trace)
