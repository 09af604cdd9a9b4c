"""The model gateway: every model call of every agent goes through here. Bare ASGI, ahead of Django.

An attempt token is the agent's key; only agents.provider uses the provider's. Bytes pass through as they come, and
while they do, no database connection is held. Prompts and keys are never logged.
"""

import asyncio
import json
import re
import time
from dataclasses import replace
from http import HTTPStatus

import structlog
from channels.db import database_sync_to_async
from django.conf import settings
from django.db import Error as DatabaseError

from agents import spending
from agents.callers import caller_of
from agents.metering import CLIENT_GONE, NOT_REACHED, Caller, Meter, keep
from agents.outreach import outreach
from agents.provider import Call, Course, Receive, Refused, Scope, Send, ask, openai_error
from tenants import tokens
from tenants.faults import crash_point

logger = structlog.get_logger(__name__)

BODY_LIMIT = 20 * 1024 * 1024
_PATH = re.compile(r"^/t/(?P<team>[^/\0]+)/model/v1/(?P<call>chat/completions|models)$")
_METHODS = {"chat/completions": "POST", "models": "GET"}


class _ClientGone(Exception):
    """Nobody waits for the answer any more."""


async def gateway(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI application."""
    try:
        path = _PATH.match(scope["path"])
        if path is None:
            raise Refused(404, "not_found", "The gateway knows chat/completions and models only.")
        if scope["method"] != _METHODS[path["call"]]:
            raise Refused(405, "method_not_allowed", f"Use {_METHODS[path['call']]}.")
        caller = await caller_of(path["team"], tokens.bearer(_header(scope, b"authorization")))
        _look_for_a_way(caller)
        body = await _read(receive) if scope["method"] == "POST" else b""
        call = Call(
            scope["method"],
            path["call"],
            prepared(body, caller.asked) if scope["method"] == "POST" else None,
            schema=caller.schema,
            execution=caller.execution,
            repeat=_header(scope, b"x-stainless-retry-count") not in ("", "0"),
        )
        held, ways = 0, caller.ways
        if caller.is_budgeted and call.body:
            held, ways = await _hold(caller, call.body)
        await _carry(caller, call, Course(ways), receive, send, held)
    except Refused as refusal:
        await _answer(send, refusal)
    except _ClientGone:
        return
    except DatabaseError as error:
        logger.warning("no model call without the database", error=str(error))
        await _answer(send, Refused(503, "database_away", "The control plane's database is away. Try again."))


def prepared(body: bytes, model: str) -> bytes:
    """The request as the provider gets it: the agent's model, and usage at the end of a stream. Raises Refused."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "invalid_json", f"The body is not JSON: {error}.") from error
    if not isinstance(asked, dict):
        raise Refused(400, "invalid_json", "The body must be a JSON object.")
    if what := outreach(asked):
        text = f"Agents have no network, and the provider must reach none for them: {what}. Send files as data: URLs."
        raise Refused(400, "reaches_out", text)
    asked["model"] = model
    if asked.get("stream"):
        options = asked.get("stream_options")
        asked["stream_options"] = (options if isinstance(options, dict) else {}) | {"include_usage": True}
    # Half a letter, of a text that was cut there, can be written in JSON, and in UTF-8 it cannot.
    return json.dumps(asked, ensure_ascii=False).encode("utf-8", "replace")


_hold = database_sync_to_async(spending.hold, thread_sensitive=False)
_keep = database_sync_to_async(keep, thread_sensitive=False)


def _header(scope: Scope, name: bytes) -> str:
    headers = {each.lower(): value for each, value in scope["headers"]}
    return str(headers.get(name, b"").decode("latin-1"))


def _look_for_a_way(caller: Caller) -> None:
    if caller.ways:
        return
    missing = "WAGGLE_MODEL_NAME" if settings.MODEL_BASE_URL else "WAGGLE_MODEL_BASE_URL"
    if settings.MODEL_REHEARSAL and not caller.rehearsal:
        text = "No provider of this team has the model of this agent, and the platform has only the rehearsal."
    else:
        text = f"No model is set. Set {missing} for the web process, or add a provider on the page of providers."
    raise Refused(503, "no_model", text)


async def _read(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientGone
        body += message.get("body", b"")
        if len(body) > BODY_LIMIT:
            raise Refused(413, "request_too_large", f"A request may have {BODY_LIMIT // 2**20} MB.")
        if not message.get("more_body"):
            return bytes(body)


async def _carry(caller: Caller, call: Call, course: Course, receive: Receive, send: Send, held: int) -> None:
    """Ask the provider and pass its answer on; whoever hangs up takes the provider's call with him."""
    meter = Meter()
    begun = time.monotonic()
    asking = asyncio.create_task(ask(call, course, meter, send))
    going = asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait({asking, going}, return_when=asyncio.FIRST_COMPLETED)
        if meter.is_sent:
            await asyncio.wait({asking})
        answered = asking.done()
    finally:
        for task in (asking, going):
            task.cancel()
        await asyncio.gather(asking, going, return_exceptions=True)
    meter.end()
    problem = asking.exception() if answered else None
    turned_away = isinstance(problem, Refused) and not problem.asked
    if call.method == "POST" and (held or not turned_away):
        if not answered:
            status = int(HTTPStatus.OK) if meter.is_complete else CLIENT_GONE
        else:
            status = NOT_REACHED if problem else asking.result()
        crash_point("gateway.answered")
        answering = replace(caller, ways=(course.way,), because=course.because)
        await _note(answering, meter, status, time.monotonic() - begun, held)
    if problem is not None:
        raise problem


async def _answer(send: Send, refusal: Refused) -> None:
    headers = [(b"content-type", b"application/json")]
    if wait := refusal.retry_after or (2 if refusal.status == HTTPStatus.SERVICE_UNAVAILABLE else 0):
        headers.append((b"retry-after", str(wait).encode()))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": openai_error(refusal)})


async def _note(caller: Caller, meter: Meter, status: int, seconds: float, held: int) -> None:
    facts = {
        "team": caller.schema,
        "swarm": str(caller.swarm),
        "agent": caller.agent,
        "execution": str(caller.execution),
        "trace": caller.trace,
        "model": meter.model or caller.asked,
        "provider": caller.route.provider if caller.route else "",
        "because": caller.because,
        "rehearsal": caller.rehearsal,
        "status": status,
        "input_tokens": meter.usage.input_tokens,
        "output_tokens": meter.usage.output_tokens,
        "seconds": round(seconds, 3),
    }
    try:
        await _keep(caller, meter, status=status, seconds=seconds, held=held)
    except DatabaseError as error:
        # The answer is out already: this line is the only record of what it cost.
        logger.error("model called, but not stored", **facts, error=str(error))
    else:
        logger.info("model called", **facts)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
