"""The websocket of a swarm's pages: who gets in, what is said, who is here."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from asgiref.testing import ApplicationCommunicator
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.db import connection
from django.test import Client, override_settings

from agents.consumers import people
from agents.models import Steer
from config.asgi import application
from sessions import presence
from sessions.models import Part
from sessions.presence import Visitor
from tenants.context import current_schema, in_schema
from tenants.models import Membership, Team
from tests.board_stage import Stage
from tests.conftest import user_of
from tests.test_steering import asked

HOST = f"acme.{settings.WAGGLE_HOST}:{settings.WAGGLE_PORT}"
OWN = f"http://{HOST}"


@pytest.fixture
def stage(committed_team: Team) -> Stage:
    return Stage(user_of("alice", "acme"))


@pytest.fixture
def cookie(committed_team: Team) -> Callable[..., str]:
    def sign_in(name: str, team: str = "acme") -> str:
        browser = Client()
        browser.force_login(user_of(name, team))
        return f"{settings.SESSION_COOKIE_NAME}={browser.cookies[settings.SESSION_COOKIE_NAME].value}"

    return sign_in


class Socket(WebsocketCommunicator):
    """A page's websocket. Unlike Channels' own it lets connections to the database be closed after each call."""

    async def send_input(self, message: Any) -> None:
        await ApplicationCommunicator.send_input(self, message)

    async def receive_output(self, timeout: float = 1) -> Any:
        return await ApplicationCommunicator.receive_output(self, timeout)


def page(swarm: UUID, cookie: str = "", origin: str | None = OWN, host: str = HOST) -> Socket:
    headers = [(b"host", host.encode()), (b"cookie", cookie.encode())]
    if origin is not None:
        headers.append((b"origin", origin.encode()))
    return Socket(application, f"/ws/swarms/{swarm}/", headers=headers)


async def enter(swarm: UUID, cookie: str) -> Socket:
    socket = page(swarm, cookie)
    entered, _ = await socket.connect(timeout=20)
    assert entered
    return socket


async def hear(socket: Socket, kind: str) -> dict[str, Any]:
    """The next message of a kind; others are passed over."""
    while True:
        message = await socket.receive_json_from(timeout=20)
        if message["type"] == kind:
            return message


async def names(socket: Socket, *wanted: str) -> None:
    """Wait until exactly these are said to be here."""
    while [person["name"] for person in (await hear(socket, "present"))["people"]] != list(wanted):
        pass


async def in_thread(verb: Callable[[], Any]) -> Any:
    schema = current_schema()

    def run() -> Any:
        try:
            with in_schema(schema):
                return verb()
        finally:
            connection.close()

    return await asyncio.to_thread(run)


def test_only_members_get_in_from_pages_of_their_team(stage: Stage, cookie: Callable[..., str]) -> None:
    swarm, bob = stage.swarm.pk, cookie("bob")
    refused = [
        page(swarm),
        page(swarm, cookie("charlie", "")),
        page(swarm, cookie("bob", "globex")),
        page(uuid4(), bob),
        page(swarm, bob, origin=None),
        page(swarm, bob, origin="http://evil.example"),
        page(swarm, bob, origin=f"http://globex.{settings.WAGGLE_HOST}:{settings.WAGGLE_PORT}"),
        page(swarm, bob, host=f"globex.{settings.WAGGLE_HOST}:{settings.WAGGLE_PORT}", origin=None),
    ]

    async def knock() -> None:
        for socket in refused:
            assert await socket.connect(timeout=20) == (False, people.NOT_ALLOWED)
        socket = await enter(swarm, bob)
        await socket.disconnect()

    asyncio.run(knock())


def test_what_is_said_is_stored_before_it_is_confirmed_and_once(stage: Stage, cookie: Callable[..., str]) -> None:
    bob, session = cookie("bob"), str(stage.live.session_id)

    async def talk() -> None:
        socket = await enter(stage.swarm.pk, bob)
        say = {"type": "say", "key": str(uuid4()), "session": session, "text": "Mind the tests."}
        for _ in range(2):
            await socket.send_json_to(say)
            assert (await hear(socket, "done"))["key"] == say["key"]
            rows = await in_thread(lambda: list(Steer.objects.values_list("kind", "text", "name")))
            assert rows == [("message", "Mind the tests.", "Bob")]
        stop = {"type": "interrupt", "key": str(uuid4()), "session": session}
        await socket.send_json_to(stop)
        assert (await hear(socket, "done"))["key"] == stop["key"]
        await socket.disconnect()

    asyncio.run(talk())
    assert Steer.objects.filter(kind="interrupt", text="").count() == 1


def test_who_may_not_or_cannot_say_it_is_told_why(stage: Stage, cookie: Callable[..., str]) -> None:
    vera, bob = cookie("vera"), cookie("bob")
    session = str(stage.live.session_id)
    part = asked(stage.live.session, about="permission")

    async def refusal(socket: Socket, **message: Any) -> str:
        await socket.send_json_to({"key": str(uuid4()), "session": session, "text": "x"} | message)
        return str((await hear(socket, "refused"))["text"])

    async def talk() -> None:
        viewer, developer = await enter(stage.swarm.pk, vera), await enter(stage.swarm.pk, bob)
        assert "You are viewer here" in await refusal(viewer, type="say")
        # A permission is an approval; a developer does not give it.
        assert "decide approvals" in await refusal(developer, type="answer", question=str(part.pk))
        assert "no such session" in await refusal(developer, type="say", session=str(uuid4()))
        assert "Say something" in await refusal(developer, type="say", text=" ")
        await viewer.disconnect()
        await developer.disconnect()

    asyncio.run(talk())
    assert not Steer.objects.exists()


def test_words_for_the_agent_of_another_swarm_are_refused(stage: Stage, cookie: Callable[..., str]) -> None:
    bob = cookie("bob")

    async def talk() -> None:
        socket = await enter(stage.proposed.pk, bob)
        message = {"type": "say", "key": str(uuid4()), "session": str(stage.live.session_id), "text": "x"}
        await socket.send_json_to(message)
        assert "no such session" in (await hear(socket, "refused"))["text"]
        await socket.disconnect()

    asyncio.run(talk())
    assert not Steer.objects.exists()


def test_a_question_is_answered(stage: Stage, cookie: Callable[..., str]) -> None:
    bob, part = cookie("bob"), asked(stage.live.session)

    async def talk() -> None:
        socket = await enter(stage.swarm.pk, bob)
        session = str(stage.live.session_id)
        answer = {"type": "answer", "key": str(uuid4()), "session": session, "question": str(part.pk), "text": "b"}
        await socket.send_json_to(answer)
        await hear(socket, "done")
        await socket.send_json_to(answer | {"key": str(uuid4())})
        assert "answered" in (await hear(socket, "refused"))["text"]
        await socket.disconnect()

    asyncio.run(talk())
    assert Part.objects.get(pk=part.pk).output == "Bob: b"


def test_nonsense_ends_the_connection(stage: Stage, cookie: Callable[..., str]) -> None:
    bob = cookie("bob")

    async def talk() -> None:
        socket = await enter(stage.swarm.pk, bob)
        await socket.send_to(text_data='{"type": "shout"}')
        assert "not understood" in (await hear(socket, "refused"))["text"]
        while (message := await socket.receive_output(timeout=20))["type"] != "websocket.close":
            pass
        assert message["code"] == people.NONSENSE

    asyncio.run(talk())


def test_people_see_each_other_come_and_go(stage: Stage, cookie: Callable[..., str]) -> None:
    bob, vera = cookie("bob"), cookie("vera")

    async def look() -> None:
        first = await enter(stage.swarm.pk, bob)
        await names(first, "Bob")
        second, third = await enter(stage.swarm.pk, vera), await enter(stage.swarm.pk, vera)
        await names(first, "Bob", "Vera")
        elsewhere = await enter(stage.proposed.pk, bob)
        await names(elsewhere, "Bob")
        await second.disconnect()
        await third.disconnect()
        await names(first, "Bob")
        await first.disconnect()
        await elsewhere.disconnect()

    asyncio.run(look())


def test_who_is_cut_off_is_gone_after_a_while(
    stage: Stage, cookie: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "LIFE_SECONDS", 0.5)
    monkeypatch.setattr(presence, "BEAT_SECONDS", 0.1)
    bob, topic = cookie("bob"), f"swarm:{stage.swarm.pk}"
    schema = current_schema()

    async def look() -> None:
        await presence.here(schema, topic, Visitor(uuid4(), "x", "Zoe | the lost"))
        socket = await enter(stage.swarm.pk, bob)
        await names(socket, "Bob", "Zoe | the lost")
        await names(socket, "Bob")
        await socket.disconnect()
        assert await presence.present(schema, topic) == []

    asyncio.run(look())


def test_who_is_removed_from_the_team_is_cut_off(
    stage: Stage, cookie: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(people, "RECHECK_SECONDS", 0.2)
    vera = cookie("vera")
    member = Membership.objects.get(user=user_of("vera", "acme"))

    async def stay() -> None:
        socket = await enter(stage.swarm.pk, vera)
        await names(socket, "Vera")
        await in_thread(Membership.objects.filter(pk=member.pk).delete)
        while (message := await socket.receive_output(timeout=20))["type"] != "websocket.close":
            pass
        assert message["code"] == people.NOT_ALLOWED

    try:
        asyncio.run(stay())
    finally:
        member.save(force_insert=True)


def test_without_redis_words_are_stored_all_the_same(stage: Stage, cookie: Callable[..., str]) -> None:
    bob = cookie("bob")
    away = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

    async def talk() -> None:
        socket = await enter(stage.swarm.pk, bob)
        message = {"type": "say", "key": str(uuid4()), "session": str(stage.live.session_id), "text": "x"}
        await socket.send_json_to(message)
        assert (await hear(socket, "done"))["key"] == message["key"]
        await socket.disconnect()

    override_settings(STREAM_URL="redis://127.0.0.1:1", CHANNEL_LAYERS=away)(asyncio.run)(talk())
    assert Steer.objects.count() == 1


@pytest.mark.parametrize(("name", "short"), [("Ana Maria Lopez", "AM"), ("bob", "B"), ("", "?")])
def test_initials(name: str, short: str) -> None:
    assert people.initials(name) == short
