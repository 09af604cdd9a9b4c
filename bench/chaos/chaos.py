"""One run: the platform, what works on it, and the report."""

import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from uuid import UUID

from django.db import OperationalError, connection

from bench import shapes, swarm
from bench.chaos import victims
from bench.chaos.platform import Platform
from bench.chaos.report import Report
from bench.chaos.samples import Samples
from bench.chaos.size import NODES, Size
from bench.stage import wait_for
from swarms.models import Node
from tenants.context import in_schema
from tenants.models import Team

Result = TypeVar("Result")
Catch = Callable[[Platform, Team], victims.Caught | None]
PATIENCE = 90.0
"""Seconds after which a swarm that has not ended counts as lost; no measure of speed."""


@dataclass(frozen=True)
class Death:
    """Something was ended that held work: when (seconds since 1970), and which attempts."""

    kind: str
    at: float
    attempts: tuple[UUID, ...]
    calm: bool
    """Others of its kind are there, and nobody else dies meanwhile."""


class Chaos:
    """What the acts share.

    `team` has swarms of milestones, which the workers themselves carry out; `rivals` races for approvals and money.
    """

    def __init__(self, of: Platform, team: Team, rivals: Team, samples: Samples, size: Size, report: Report) -> None:
        self.of, self.team, self.rivals, self.samples = of, team, rivals, samples
        self.size, self.report = size, report
        self.dice = random.Random(report.seed)
        self.deaths: list[Death] = []
        self.late: set[UUID] = set()
        """Attempts whose workers offer their completion after the lease is over."""
        self.swarms: list[UUID] = []
        self._shapes = (shapes.chain(NODES), shapes.layered(NODES, 3), shapes.fan(NODES - 2))

    def submit(self) -> UUID:
        """One more swarm; the platform adopts it by itself."""
        shape = self._shapes[len(self.swarms) % len(self._shapes)]
        self.swarms.append(swarm.proposed(self.team, swarm.proposal(*shape)))
        return self.swarms[-1]

    def settle(self, *swarms: UUID) -> float:
        """Seconds until these swarms are done. One that is not, after all patience, is for the checker to find."""
        began = time.monotonic()
        for pk in swarms:
            left = PATIENCE - (time.monotonic() - began)
            try:
                wait_for(partial(swarm.is_done, self.team, pk), f"swarm {pk} does not end", seconds=left)
            except TimeoutError as error:
                print(error, flush=True)
        return time.monotonic() - began

    def catch(self, how: Catch = victims.worker, *, begun: bool = True) -> tuple[UUID, victims.Caught]:
        """A worker, stopped at work on a swarm that is stated for it; not before it is adopted, if `begun`.

        Raises TimeoutError when there is no such moment.
        """
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self._spare()
            pk = self.submit()
            if begun:
                wait_for(partial(_is_adopted, self.team, pk), f"swarm {pk} does not begin", seconds=PATIENCE)
            if caught := how(self.of, self.team):
                return pk, caught
        raise TimeoutError("no worker could be stopped at work")

    def _spare(self) -> None:
        """Let others do what has lost so much that one more loss would end it."""
        wait_for(lambda: not victims.on_the_brink(self.team), "what was lost twice is not done", seconds=PATIENCE)

    def died(self, kind: str, attempts: Iterable[UUID], *, calm: bool) -> Death:
        """Write down that somebody died just now who held these attempts."""
        self.deaths.append(Death(kind, time.time(), tuple(attempts), calm))
        return self.deaths[-1]


def _is_adopted(team: Team, pk: UUID) -> bool:
    with in_schema(team.schema_name):
        return Node.objects.filter(swarm=pk).exists()


def patiently(verb: Callable[[], Result]) -> Result:
    """Do it as soon as the database is there. Raises TimeoutError when it does not come back."""
    for _ in range(120):
        try:
            return verb()
        except OperationalError:
            connection.close()
            time.sleep(0.5)
    raise TimeoutError("the database does not come back")
