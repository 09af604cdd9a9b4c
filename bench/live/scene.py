"""Who publishes and who reads: topics of a few teams, a web process, readers in a process of their own."""

import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from bench import swarm
from bench.stage import Stage, wait_for
from config.env import PROJECT_ROOT
from sessions.events import publish
from tenants import tokens
from tenants.context import PUBLIC, in_schema
from tenants.models import Team

PER_TOPIC = 10
PER_TEAM = 450
"""Readers of one team: a process takes no more than five hundred."""
FACT: dict[str, Any] = {"by": "bench", "what": "measure the way from a commit to a client", "why": "to know it"}


@dataclass(frozen=True)
class Topic:
    """What ten readers listen to."""

    team: Team
    slug: str
    name: str
    token: str

    def happen(self) -> tuple[int, float]:
        """One event, committed: its number, and the moment by the monotonic clock."""
        with in_schema(self.team.schema_name):
            event = publish(self.name, "decision.made", **FACT)
        return event.seq, time.monotonic()


def topics(count: int) -> list[Topic]:
    """So many topics, over as many teams as their readers need."""
    found: list[Topic] = []
    per_team = PER_TEAM // PER_TOPIC
    for number in range(-(-count // per_team)):
        slug = f"live{number}-{uuid4().hex[:6]}"
        team = swarm.team(slug)
        with in_schema(PUBLIC):
            _, token = tokens.issue("api", team=team)
        for _ in range(min(per_team, count - len(found))):
            found.append(Topic(team, slug, f"swarm:{uuid4()}", token))
    for topic in found:
        topic.happen()  # from now on it can be listened to
    return found


def platform(at: Stage) -> None:
    """The relay, and one web process."""
    at.start("ticker", "manage.py", "ticker")
    wait_for(lambda: "ticker leads" in at.log("ticker"), "the ticker does not start")
    serve(at, "web", "config.asgi:application", int(at.environment["WAGGLE_PORT"]))


def serve(at: Stage, name: str, application: str, port: int, **variables: str) -> None:
    """Start an ASGI application as the platform's own is started, and wait for it."""
    where = ("--host", "127.0.0.1", "--port", str(port))
    words = ("-m", "uvicorn", application, *where, "--timeout-graceful-shutdown", "10", "--no-access-log")
    launch(at, name, port, *words, **variables)


def launch(at: Stage, name: str, port: int, *command: str, **variables: str) -> None:
    """Start what listens on a port, and wait until it does."""
    at.start(name, *command, **variables)
    wait_for(lambda: _listens(port), f"{name} does not start")


def _listens(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status < 500
    except OSError:
        return False
    finally:
        connection.close()


def to_waggle(port: int, topic: Topic) -> dict[str, Any]:
    """A program's connection to the platform's stream."""
    request = (
        f"GET /t/{topic.slug}/events?topic={topic.name} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {topic.token}\r\n\r\n"
    )
    return {"port": port, "topic": topic.name, "request": request}


@dataclass
class Readers:
    """A process with clients."""

    process: "subprocess.Popen[str]"
    count: int
    lost: int = 0
    arrivals: dict[str, dict[int, list[float]]] = field(default_factory=dict)

    def stop(self) -> None:
        """Tells them to stop, and hears what came."""
        out, _ = self.process.communicate("stop\n", timeout=120)
        told = json.loads(out)
        self.lost = told["lost"]
        self.arrivals = {topic: {int(k): v for k, v in found.items()} for topic, found in told["arrivals"].items()}


@contextmanager
def readers(connections: Sequence[dict[str, Any]], *, ends: bool = True) -> Iterator[Readers]:
    """Clients that are connected and listen. After the block they tell what came to them, if they are to end so."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.live.readers"],
        cwd=PROJECT_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(connections) + "\n")
        process.stdin.flush()
        if process.stdout.readline().strip() != "ready":
            raise AssertionError("the readers are not let in")
        found = Readers(process, len(connections))
        yield found
        if ends:
            time.sleep(1)  # what is under way may arrive
            found.stop()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


Sent = dict[tuple[str, int], float]
"""When an event was committed, by topic and number."""


def steadily(
    chosen: Sequence[Topic], *, rate: float, seconds: float, happen: Callable[[Topic], tuple[int, float]] = Topic.happen
) -> Sent:
    """Events on these topics in turn, so many in a second, whatever one takes. Who is late does not wait."""
    sent: Sent = {}
    began = time.monotonic()
    for number in range(int(rate * seconds)):
        pause = began + number / rate - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        topic = chosen[number % len(chosen)]
        seq, moment = happen(topic)
        sent[topic.name, seq] = moment
    return sent


def delays(sent: Sent, came: Readers, per_event: int) -> list[float]:
    """Milliseconds from each commit to each reader. Raises when one missed an event, or had it twice."""
    found = []
    for (topic, seq), moment in sent.items():
        arrivals = came.arrivals.get(topic, {}).get(seq, [])
        if len(arrivals) != per_event:
            raise AssertionError(f"event {seq} of {topic} came to {len(arrivals)} of {per_event} readers")
        found += [(arrival - moment) * 1000 for arrival in arrivals]
    return found


def missed(sent: Sent, came: Readers, per_event: int) -> int:
    """Deliveries that did not happen."""
    return sum(per_event - len(came.arrivals.get(topic, {}).get(seq, [])) for topic, seq in sent)


def rss_kb(pid: int) -> int:
    """Memory of a process that is really there."""
    found = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def metric(port: int, name: str) -> float:
    """One of the web process's own figures."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def key_of(text: str) -> UUID:
    """The uuid in a topic's name."""
    return UUID(text.partition(":")[2])


def redis_url() -> str:
    """Where the streams are."""
    return f"{os.environ['REDIS_URL'].rstrip('/')}/0"
