"""Three teams that live at the same time: nobody hears, is shown or leaves behind anything of another team's."""

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any
from uuid import uuid4

import pytest
import redis
from django.conf import settings
from django.core.cache import cache
from django.test import Client

from agents import steering
from agents.contracts import Delta, Doing, MessageRecord, PartRecord
from agents.models import Execution
from sessions import presence, transcript
from sessions.events import publish
from sessions.models import Event, Session
from sessions.presence import Visitor
from sessions.relay import relay_once
from tenants import provisioning, signup, tokens
from tenants.context import in_schema
from tenants.models import Team, User
from tests.board_stage import Stage
from tests.conftest import user_of
from tests.test_live_pages import PageVisit, committed, until

SLUGS = ("acme", "globex", "initech")
CANARY = {"acme": "kumquat", "globex": "rambutan", "initech": "jabuticaba"}
"""A word that stands in everything of a team."""


@pytest.fixture
def teams(committed_team: Team) -> Iterator[dict[str, Team]]:
    boss = User.objects.create_user("alice@initech.example", "correct horse battery", name="Alice")
    third = signup.make_team(name="Initech", slug="initech", owner=boss)
    provisioning.build(third, wait=True)
    found = {slug: Team.objects.get(domains__slug=slug) for slug in SLUGS}
    with redis.Redis.from_url(settings.STREAM_URL) as client:
        client.flushdb()
        yield found
        client.flushdb()
    provisioning.drop(third, "initech")


class Side:
    """A team with a swarm in which all is said under its canary."""

    def __init__(self, slug: str, team: Team) -> None:
        self.slug, self.team, self.word = slug, team, CANARY[slug]
        self.boss = user_of("alice", slug)
        with in_schema(team.schema_name):
            self.stage = Stage(self.boss, slug=self.word)
        self.live: Execution = self.stage.live
        project = self.stage.project
        named = (f"project:{project.pk}", self.stage.swarm.topic, f"session:{self.live.session_id}")
        self.topics, self.own = ("team", *named, "swarms"), set(named)
        browser = Client()
        browser.force_login(self.boss)
        name = settings.SESSION_COOKIE_NAME
        self.cookie = f"{name}={browser.cookies[name].value}"
        _, self.token = tokens.issue("api", team=team)

    def speak(self) -> None:
        """Something of every way in which a team is heard, each with its word."""
        word, session = self.word, self.live.session
        publish("team", "breaker.moved", name=word, before="closed", after="open")
        publish(self.topics[1], "decision.made", by=word, what=word, why=word)
        publish(self.topics[2], "decision.made", by=word, what=word, why=word)
        message, part = uuid4(), uuid4()
        transcript.record(
            session,
            [
                MessageRecord(id=message, role="assistant"),
                PartRecord(id=part, message=message, index=0, kind="text", state="open", text=word),
                Doing(text=f"{word} {uuid4()}"),
            ],
        )
        transcript.record(session, [Delta(part=part, offset=len(word), text=word)])
        steering.say(session, word, by=self.boss)


@pytest.fixture
def sides(teams: dict[str, Team]) -> list[Side]:
    made = [Side(slug, team) for slug, team in teams.items()]
    while relay_once():
        pass
    return made


class Guest(PageVisit):
    """Somebody at the stream of a team's host."""

    def __init__(self, cookie: str, slug: str, topic: str, **more: Any) -> None:
        super().__init__(cookie, topic, **more)
        host = f"{slug}.{settings.WAGGLE_HOST}:{settings.WAGGLE_PORT}".encode()
        others = [header for header in self.scope["headers"] if header[0] != b"host"]
        self.scope["headers"] = [*others, (b"host", host)]


class Program(PageVisit):
    """A program with a token, at the path form of a team."""

    def __init__(self, token: str, slug: str, topic: str) -> None:
        super().__init__("", topic, form="json", after=0)
        self.scope["path"] = f"/t/{slug}/events"
        self.scope["headers"].append((b"authorization", f"Bearer {token}".encode()))


def test_every_pair_of_who_asks_and_what_for(sides: list[Side]) -> None:
    """Each team's member and program, at each team's host, for each topic of each team, live and from the beginning."""

    async def ask() -> None:
        opened: dict[tuple[Any, ...], PageVisit] = {}
        for asker, host, owner in product(sides, sides, sides):
            for topic in owner.topics:
                key = (asker, host, owner, topic)
                opened[*key, "page"] = Guest(asker.cookie, host.slug, topic, form="html")
                opened[*key, "json"] = Guest(asker.cookie, host.slug, topic, form="json", after=0)
                opened[*key, "program"] = Program(asker.token, host.slug, topic)
        await until(lambda: all(one.status for one in opened.values()))
        for (asker, host, owner, topic, _), one in opened.items():
            may = asker is host and (owner is host or topic in ("team", "swarms"))
            assert one.status == (200 if may else 404), (asker.slug, host.slug, owner.slug, topic)
            if not may:
                await one.task
                assert one.body == b"Not found."
        for side in sides:
            await committed(lambda side=side: _in(side, side.speak))
        heard = {key: one for key, one in opened.items() if one.status == 200}
        await until(lambda: all(_wanted(key) in one.body for key, one in heard.items()))
        for (asker, *_), one in heard.items():
            for other in sides:
                assert other is asker or other.word.encode() not in one.body, (asker.slug, other.slug)
            await one.leave()

    asyncio.run(ask())


def _wanted(key: tuple[Any, ...]) -> bytes:
    """What must be heard: the team's word; of teams and projects pages are told only that something happened."""
    asker, _, _, topic, form = key
    only_told = form == "page" and topic.startswith(("team", "project", "swarms"))
    return b"event: change" if only_told else asker.word.encode()


def _in(side: Side, verb: Callable[[], object]) -> None:
    with in_schema(side.team.schema_name):
        verb()


def test_what_a_team_said_is_nowhere_else(sides: list[Side], caplog: pytest.LogCaptureFixture) -> None:
    """In no other team's rows, streams, channels, presence or cache, and in no line of a log."""
    caplog.set_level(logging.DEBUG)

    async def look() -> None:
        pages = [Guest(side.cookie, side.slug, topic) for side in sides for topic in side.topics]
        await asyncio.gather(*(page.saw(b"retry:") for page in pages))
        for side in sides:
            await committed(lambda side=side: _in(side, side.speak))
            await presence.here(side.team.schema_name, side.topics[2], Visitor(uuid4(), "x", side.word))
        for page in pages:
            await page.leave()

    asyncio.run(look())
    with redis.Redis.from_url(settings.STREAM_URL) as client:
        for side in sides:
            foreign = [other.word for other in sides if other is not side]
            with in_schema(side.team.schema_name):
                rows = json.dumps(list(Event.objects.values_list("subject", "payload", "actor")), default=str)
                rows += json.dumps(list(Session.objects.values_list("title", "doing")))
            entries = b"".join(
                value for _, entry in client.xrange(f"ev:{side.team.schema_name}") for value in entry.values()
            )
            assert side.word in rows
            assert side.word.encode() in entries
            for word in foreign:
                assert word not in rows
                assert word.encode() not in entries
        for key in client.scan_iter("*"):
            owners = [side for side in sides if side.team.schema_name.encode() in key]
            content = _content(client, key)
            for side in sides:
                assert side.word.encode() not in content or owners == [side], key
    said = "\n".join(record.getMessage() for record in caplog.records)
    assert not [word for word in CANARY.values() if f"{word} " in said]
    assert cache.get("nothing") is None


def _content(client: "redis.Redis", key: bytes) -> bytes:
    kind = client.type(key)
    if kind == b"stream":
        return b"".join(value for _, entry in client.xrange(key) for value in entry.values())
    if kind == b"zset":
        return b" ".join(client.zrange(key, 0, -1))
    if kind == b"hash":
        return b" ".join(client.hgetall(key).values())
    return client.get(key) or b"" if kind == b"string" else b""
