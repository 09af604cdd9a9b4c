"""A program that follows docs/live.md, over a network that cuts at random bytes: it hears all of it, once, in order."""

import random
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
import redis
from django.conf import settings
from django.db import connection

from bench.chaos.proxy import Network
from sessions.events import publish
from sessions.models import Event
from sessions.relay import Relay
from sessions.topics import stream_key
from tenants import tokens
from tenants.context import in_schema
from tenants.models import Team
from tests.web import ROOT, Listener, Web, serve, until

DONE = {"by": "policy", "what": "start", "why": "nothing is in its way: é, ⟶ and\nbreaks"}
EVENTS = 150


@pytest.fixture(scope="module")
def web(django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with django_db_blocker.unblock(), serve("config.asgi:application", tmp_path_factory.mktemp("web")) as running:
        yield running


@pytest.fixture
def events() -> Callable[..., Iterator[dict[str, Any]]]:
    """The client of the document."""
    (text,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "live.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    # It need not wait so long here.
    exec(text.replace("time.sleep(1)", "time.sleep(0.01)"), names)
    return names["events"]


@pytest.fixture(autouse=True)
def no_stream_before(committed_team: Team) -> None:
    with redis.Redis.from_url(settings.STREAM_URL) as client:
        client.delete(stream_key(committed_team.schema_name))


@pytest.fixture
def relaying(committed_team: Team) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=Relay().run, args=[stop])
    thread.start()
    yield
    stop.set()
    thread.join(timeout=20)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_a_program_hears_is_the_table(
    web: Web, committed_team: Team, relaying: None, events: Callable[..., Any], seed: int
) -> None:
    topic, other = f"swarm:{uuid4()}", f"swarm:{uuid4()}"
    _, token = tokens.issue("api", team=committed_team)
    publish(topic, "decision.made", **DONE)
    heard: list[dict[str, Any]] = []
    wire = Network().proxy(web.port)
    wire.lasts = (1, 4000)
    random.seed(seed)
    url = f"http://127.0.0.1:{wire.port}/t/acme/events"

    def listen() -> None:
        for event in events(url, token, [topic], after=0):
            heard.append(event)
            if event["payload"]["what"] == "end":
                return

    listening = threading.Thread(target=listen, daemon=True)
    writing = threading.Thread(target=_write, args=[committed_team.schema_name, topic, other])
    listening.start()
    writing.start()
    writing.join()
    until(lambda: not listening.is_alive(), 100, "it does not hear the end")
    rows = Event.objects.filter(subject=topic).order_by("position")
    table = [(row.position, row.seq, row.payload["why"], row.at.isoformat()) for row in rows]
    assert [(e["position"], e["seq"], e["payload"]["why"], e["at"]) for e in heard] == table
    assert [seq for _, seq, _, _ in table] == list(range(1, EVENTS + 3))
    print(f"\n{len(heard)} events over {wire.cuts} cuts")
    assert wire.cuts > 10


def _write(schema: str, topic: str, other: str) -> None:
    try:
        with in_schema(schema):
            for number in range(EVENTS):
                publish(other if number % 3 else "team", "decision.made", **DONE)
                publish(topic, "decision.made", **DONE)
            publish(topic, "decision.made", **(DONE | {"what": "end"}))
    finally:
        connection.close()


def test_the_command_line_of_the_document_names_what_there_is(web: Web, committed_team: Team) -> None:
    (line,) = re.findall(r"```sh\n(curl .*?)\n```", (ROOT / "docs" / "live.md").read_text())
    path = re.search(r"https://acme\.example(/t/acme/events\?\S+?)\"", line)
    assert path is not None
    swarm = uuid4()
    publish(f"swarm:{swarm}", "decision.made", **DONE)
    _, token = tokens.issue("api", team=committed_team)
    program = Listener(web.port, path[1].replace("$SWARM", str(swarm)), Authorization=f"Bearer {token}")
    assert program.status == 200
    program.cut()
