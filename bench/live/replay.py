"""A swarm of a hundred thousand events, as it was at the last of them, from nothing; and positions of its slider."""

import random
import time
from typing import Any
from uuid import UUID

from django.conf import settings
from django.test import Client
from django.urls import reverse

from bench import shapes, swarm
from bench.figures import Figures, tail, typical
from bench.live.scene import FACT
from bench.stage import Stage
from sessions.events import publish_all
from swarms.models import Node, Swarm
from swarms.replay import stories
from swarms.replay.checkpoints import Checkpoints, scene_at
from tenants.context import in_schema
from tenants.models import Team

EVENTS, NODES, ROUNDS, POSITIONS = 100_000, 50, 5, 40
BATCH = 2_000


def measure(at: Stage) -> Figures:
    """Moves of nodes, what agents do, calls of models, decisions; without any checkpoint.

    Then positions of the slider, anywhere, as the web process answers them once it has been asked for the end.
    """
    team = swarm.team("replayed")
    made = swarm.proposed(team, swarm.proposal(*shapes.layered(NODES, 5)))
    swarm.adopt(team, made)
    took = []
    with in_schema(team.schema_name):
        topic = Swarm.objects.get(pk=made).topic
        facts = _facts([(str(pk), key) for pk, key in Node.objects.filter(swarm=made).values_list("pk", "key")])
        for start in range(0, EVENTS, BATCH):
            publish_all(topic, facts[start : start + BATCH])
        for _ in range(ROUNDS):
            began = time.perf_counter()
            story = stories.known(made)
            if story is None:
                raise AssertionError("the swarm has no story")
            scene_at(story, story.last(), Checkpoints())
            took.append(time.perf_counter() - began)
    positions = _positions(team, made)
    return {"live.replay100k_s": typical(took, "s"), "live.replay_position_p95_ms": tail(positions, "ms")}


def _positions(team: Team, pk: UUID) -> list[list[float]]:
    """Milliseconds of each answer, query, template and all middleware included."""
    with in_schema(team.schema_name):
        made = Swarm.objects.select_related("project", "goal__created_by").get(pk=pk)
        base = reverse("swarm-replay-now", "config.urls_team", [made.project.slug, made.number])
    client = Client(headers={"host": f"{team.get_primary_domain().domain}:{settings.WAGGLE_PORT}"})
    client.force_login(made.goal.created_by)
    chance, runs = random.Random(1), []
    client.get(base, {"at": EVENTS})
    for _ in range(ROUNDS):
        took = []
        for _ in range(POSITIONS):
            began = time.perf_counter()
            answer = client.get(base, {"at": chance.randint(1, EVENTS)})
            took.append((time.perf_counter() - began) * 1000)
            if answer.status_code != 200:
                raise AssertionError(f"a position was answered with {answer.status_code}")
        runs.append(took)
    return runs


def _facts(nodes: list[tuple[str, str]]) -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = []
    for number in range(EVENTS // 4):
        pk, key = nodes[number % len(nodes)]
        before, after = ("ready", "running") if number // len(nodes) % 2 else ("running", "ready")
        call = {"session": "s", "model": "m", "rehearsal": True, "status": 200, "input_tokens": 9, "output_tokens": 9}
        found += [
            ("node.moved", {"id": pk, "name": key, "before": before, "after": after, "because": "of a bench"}),
            ("agent.doing", {"agent": "developer-1", "session": "s", "text": f"step {number}"}),
            ("model.called", call | {"cost_microusd": None}),
            ("decision.made", FACT),
        ]
    return found
