"""The websocket of a swarm's pages: people steer its agents and see each other."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import structlog
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import Error as DatabaseError
from pydantic import BaseModel, TypeAdapter, ValidationError
from redis.exceptions import RedisError

from agents import conversing
from agents.contracts.people import FromPerson, Person, Present, Refused
from sessions import admission, presence, topics
from sessions.presence import Visitor
from tenants.context import PUBLIC, in_schema
from tenants.models import User

logger = structlog.get_logger(__name__)
MESSAGES: TypeAdapter[FromPerson] = TypeAdapter(FromPerson)
RECHECK_SECONDS = 60.0
"""So often a websocket asks whether its member may still be here."""
GATHER_SECONDS = 0.2
"""Who comes and goes in so short a time is told of at once."""
NOT_ALLOWED, NONSENSE = 4404, 4400
LONGEST = 64_000


def visitor_of(scope: Any, swarm: UUID) -> tuple[UUID, str, Visitor]:
    """The team with its schema, and the member who opens a page of this swarm. Raises admission.Refused."""
    request = admission.Request.of(scope)
    if not request.headers.get("origin"):
        raise admission.Refused(403, "Websockets are for pages of the same host.")
    team, user = admission.identify(request)
    if user is None:
        raise admission.Refused(*admission.NOT_FOUND)
    with in_schema(team.schema_name):
        if topics.missing(frozenset({f"swarm:{swarm}"})):
            raise admission.Refused(*admission.NOT_FOUND)
    with in_schema(PUBLIC):
        name = str(User.objects.get(pk=user))
    return team.pk, team.schema_name, Visitor(user, uuid4().hex, name)


class SwarmConsumer(AsyncWebsocketConsumer):
    """One page of one member. What is said is stored before it is answered; who is here lives in Redis alone."""

    team: UUID
    schema: str = ""
    visitor: Visitor
    swarm: UUID
    shown: tuple[Person, ...] | None = None
    beating: asyncio.Task[None] | None = None
    telling: asyncio.Task[None] | None = None

    async def __call__(self, *asgi: Any) -> None:
        """One connection; whatever ends it also ends what it does beside."""
        try:
            await super().__call__(*asgi)
        finally:
            for task in (self.beating, self.telling):
                if task:
                    task.cancel()

    async def connect(self) -> None:
        """Members of the team get in, from pages of its host; strangers and missing swarms get the same answer."""
        self.swarm = self.scope["url_route"]["kwargs"]["swarm"]
        try:
            self.team, self.schema, self.visitor = await self._ask(visitor_of, self.scope, self.swarm)
        except (admission.Refused, DatabaseError) as error:
            logger.info("no websocket for a page", because=str(error))
            await self.close(NOT_ALLOWED)
            return
        await self.accept()
        self.beating = asyncio.create_task(self._beat())

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Something to say. What is not understood ends the connection."""
        try:
            message = MESSAGES.validate_json((text_data or "")[:LONGEST])
        except ValidationError as error:
            faults = "; ".join(fault["msg"] for fault in error.errors(include_input=False))
            await self._say(Refused(text=f"This is not understood: {faults}"))
            await self.close(NONSENSE)
            return
        try:
            answer = await self._ask(conversing.carry_out, self.team, self.visitor.user, self.swarm, message)
        except DatabaseError as error:
            logger.warning("words to an agent were not stored", error=str(error))
            answer = Refused(key=message.key, text="The database is away for a moment. Say it again.")
        await self._say(answer)

    async def came_or_went(self, event: dict[str, Any]) -> None:
        """Of the channel layer: somebody came or went. Of several at once the page is told once."""
        if self.telling is None or self.telling.done():
            self.telling = asyncio.create_task(self._tell_who_is_here())

    async def disconnect(self, code: int) -> None:
        if not self.schema:
            return
        try:
            await presence.gone(self.schema, self._topic, self.visitor)
            await self.channel_layer.group_discard(self._group, self.channel_name)
            await self.channel_layer.group_send(self._group, {"type": "came.or.went"})
        except (RedisError, OSError) as error:
            logger.info("who is here is not known without Redis", error=str(error))

    async def _beat(self) -> None:
        """Says again and again that this member is here, and asks whether it may be."""
        loop = asyncio.get_running_loop()
        checked = loop.time()
        while True:
            try:
                await self.channel_layer.group_add(self._group, self.channel_name)
                if await presence.here(self.schema, self._topic, self.visitor):
                    await self.channel_layer.group_send(self._group, {"type": "came.or.went"})
                # Also what nobody told of: who was cut off, and what the channel layer lost.
                await self._show(await presence.present(self.schema, self._topic))
            except (RedisError, OSError) as error:
                logger.info("who is here is not known without Redis", error=str(error))
            await asyncio.sleep(presence.BEAT_SECONDS)
            if loop.time() - checked > RECHECK_SECONDS - presence.BEAT_SECONDS:  # the next beat would be too late
                checked = loop.time()
                if not await self._may_stay():
                    await self.close(NOT_ALLOWED)
                    return

    async def _may_stay(self) -> bool:
        try:
            await self._ask(visitor_of, self.scope, self.swarm)
        except admission.Refused:
            return False
        except DatabaseError as error:
            logger.warning("membership of a websocket not asked", error=str(error))
        return True

    async def _tell_who_is_here(self) -> None:
        await asyncio.sleep(GATHER_SECONDS)
        try:
            await self._show(await presence.present(self.schema, self._topic))
        except (RedisError, OSError) as error:
            logger.info("who is here is not known without Redis", error=str(error))

    async def _show(self, visitors: list[Visitor]) -> None:
        people = tuple(Person(user=one.user, name=one.name, initials=initials(one.name)) for one in visitors)
        if people != self.shown:
            self.shown = people
            await self._say(Present(people=people))

    @property
    def _topic(self) -> str:
        return f"swarm:{self.swarm}"

    @property
    def _group(self) -> str:
        return presence.group_of(self.schema, self._topic)

    async def _say(self, message: BaseModel) -> None:
        await self.send(text_data=message.model_dump_json())

    async def _ask(self, verb: Callable[..., Any], *args: Any) -> Any:
        """Scope and query sit inside one synchronous call (see tenants.context)."""
        return await database_sync_to_async(verb, thread_sensitive=False)(*args)


def initials(name: str) -> str:
    """Of a name: two letters at most."""
    return "".join(word[0] for word in name.split()[:2]).upper() or "?"
