"""A swarm whose page people look at, and events of it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench import shapes, swarm
from bench.live.scene import FACT
from sessions.events import publish
from swarms.models import Swarm
from tenants.context import PUBLIC, in_schema
from tenants.members import add_member
from tenants.models import Team, User
from tenants.roles import Role

SLUG = "board"
NODES = 20


@dataclass(frozen=True)
class Board:
    """A swarm of twenty nodes that does nothing."""

    team: Team
    swarm: Swarm

    @property
    def path(self) -> str:
        """The address of its page."""
        return f"/projects/bench/swarms/{self.swarm.number}/"

    def happen(self) -> tuple[str, float]:
        """One event that the page shows as a line: its number, and the moment when it was committed, since 1970."""
        with in_schema(self.team.schema_name):
            event = publish(self.swarm.topic, "decision.made", **FACT)
        return str(event.seq), time.time()


def board() -> Board:
    """Its plan is proposed, and nobody adopts it."""
    team = swarm.team(SLUG)
    made = swarm.proposed(team, swarm.proposal(*shapes.layered(NODES, 4)))
    with in_schema(team.schema_name):
        return Board(team, Swarm.objects.select_related("project").get(pk=made))


def steadily(of: Board, *, rate: float, seconds: float) -> dict[str, float]:
    """Events, so many in a second; when each was committed, by its number."""
    sent: dict[str, float] = {}
    began = time.monotonic()
    for number in range(int(rate * seconds)):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        seq, moment = of.happen()
        sent[seq] = moment
    return sent


def people(of: Team, count: int) -> Sequence[User]:
    """Members of the team, its owner first."""
    with in_schema(PUBLIC):
        found = [User.objects.get(memberships__team=of)]
        for number in range(1, count):
            user = User.objects.create_user(
                f"member{number}@{SLUG}.example", "bench bench bench", name=f"Member {number}"
            )
            add_member(of, user, Role.DEVELOPER)
            found.append(user)
    return found


def waits(sent: dict[str, float], came: dict[str, Any]) -> list[float]:
    """Milliseconds from each commit to when it came."""
    return [(came[name] - moment) * 1000 for name, moment in sent.items()]
