"""What a model call costs on its way through the gateway."""

import asyncio
import time
from datetime import timedelta
from statistics import median

import httpx
from django.utils import timezone

from agents.models import Execution
from bench import staff, swarm
from bench.figures import Figures, tail
from bench.stage import Stage, workers
from sessions.models import Session
from tenants import tokens
from tenants.context import in_schema
from tenants.models import Domain, Runner, Team

CALLS, WARM = 200, 20
_BODY = {
    "model": "rehearsal",
    "stream": True,
    "stream_options": {"include_usage": True},
    "tools": [{"type": "function", "function": {"name": "final_result", "parameters": {"type": "object"}}}],
    "messages": [{"role": "user", "content": "# Node `n0`: answer at once"}],
}


def measure(at: Stage) -> Figures:
    """The same streamed call straight to the scripted model and through the gateway, turn by turn: token, budget,
    breaker, metering. The figure is what the gateway adds to a call, in milliseconds.
    """
    of = swarm.team("bench")
    workers(at, 1)
    staff.start(at, capacity=1)
    direct = at.environment["WAGGLE_MODEL_BASE_URL"] + "/chat/completions"
    slug, secret = _attempt(of)
    through = f"http://127.0.0.1:{at.environment['WAGGLE_PORT']}/t/{slug}/model/v1/chat/completions"
    straight, by_gateway = asyncio.run(_calls(direct, through, secret))
    added = [way - base for way, base in zip(by_gateway, straight, strict=True)]
    return {
        "fleet.gateway_p50_ms": tail([[one] for one in added], "ms", 0.5),
        "fleet.gateway_p95_ms": tail([[one] for one in added], "ms"),
        "fleet.gateway.direct_p50_ms": tail([[median(straight)]], "ms", 0.5),
    }


def _attempt(of: Team) -> tuple[str, str]:
    """The team's name in addresses, and the token of an agent at work that nobody watches."""
    with in_schema(of.schema_name):
        session = Session.objects.create(subject="swarm:bench", title="calls", agent="caller")
        live = Execution.objects.create(
            kind="work",
            subject="node:calls",
            swarm=session.pk,
            session=session,
            agent="caller",
            assignment={},
            runner=Runner.objects.get(),
            state="running",
            started_at=timezone.now(),
            lease_until=timezone.now() + timedelta(hours=1),
        )
        _, secret = tokens.issue("attempt", team=of, subject=f"execution:{live.pk}", life=tokens.ATTEMPT_LIFE)
        return Domain.objects.get(tenant=of, is_primary=True).slug, secret


async def _calls(direct: str, through: str, secret: str) -> tuple[list[float], list[float]]:
    async with httpx.AsyncClient(timeout=30) as client:
        took: tuple[list[float], list[float]] = ([], [])
        for number in range(WARM + CALLS):
            for found, url in zip(took, (direct, through), strict=True):
                began = time.perf_counter()
                answer = await client.post(url, json=_BODY, headers={"Authorization": f"Bearer {secret}"})
                answer.raise_for_status()
                if number >= WARM:
                    found.append((time.perf_counter() - began) * 1000)
        return took
