"""`make chaos`: real workers and a real clock, killed while swarms run; what was injected, and what was recovered."""

import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

import redis
from django.db import OperationalError, connection

from bench import shapes
from bench.stage import Stage, stage, wait_for, workers
from config.env import PROJECT_ROOT
from config.services import ensure
from config.services.embedded import marks

LEASE, HEARTBEAT, TICK = 3.0, 1.0, 0.2
CLOCK = {
    "WAGGLE_LEASE_SECONDS": str(LEASE),
    "WAGGLE_HEARTBEAT_SECONDS": str(HEARTBEAT),
    "WAGGLE_TICK_SECONDS": str(TICK),
}
KILLS, NODES = 100, 10
"""One swarm of so many nodes for each kill: 1,000 in all."""
SPARES = 3
RESULTS = PROJECT_ROOT / "bench" / "chaos.json"
_LOST = """
SELECT extract(epoch FROM next.created_at - lost.created_at) FROM swarms_attempt lost
JOIN swarms_attempt next ON next.node_id = lost.node_id AND next.number = lost.number + 1 WHERE lost.state = 'lost'
"""
_EFFECTS = """
SELECT count(*), coalesce(sum(1 - least(n, 1)), 0), coalesce(sum(greatest(n, 1) - 1), 0) FROM (
  SELECT v.id, count(a.id) FILTER (WHERE a.state = 'succeeded') AS n FROM swarms_node v
  LEFT JOIN swarms_attempt a ON a.node_id = v.id GROUP BY v.id) AS x
"""


class Chaos:
    """One run: what was done to the platform, and how it took it."""

    def __init__(self, at: Stage, of: Any, seed: int) -> None:
        self.at, self.of, self.dice = at, of, random.Random(seed)
        self.swarms: list[UUID] = []
        self.injected: dict[str, int] = {}
        self.figures: dict[str, tuple[float, float]] = {}
        """Name to (measured, at most)."""

    def submit(self) -> UUID:
        """One more swarm; the platform adopts it by itself."""
        from bench import swarm

        self.swarms.append(swarm.proposed(self.of, swarm.proposal(*shapes.layered(NODES, 3))))
        return self.swarms[-1]

    def settle(self, pk: UUID) -> float:
        """Seconds until a swarm is done."""
        from bench import swarm

        began = time.monotonic()
        wait_for(partial(swarm.is_done, self.of, pk), f"swarm {pk} does not end", seconds=90)
        return time.monotonic() - began

    def count(self, what: str) -> None:
        self.injected[what] = self.injected.get(what, 0) + 1

    def start_worker(self, name: str) -> None:
        command = ("-m", "dramatiq", "config.worker", "--processes", "1", "--threads", "4")
        self.at.start(name, *command)

    def kill(self) -> None:
        """kill -9 of a worker with its children, or now and then of the clock; another one is started."""
        name = self.dice.choice([*(f"worker-{n}" for n in range(SPARES)), "ticker"] if self.dice.random() < 0.2 else
                                [f"worker-{n}" for n in range(SPARES)])  # fmt: skip
        process = self.at.processes.pop(name)
        _kill_tree(process.pid)
        process.wait()
        self.count(f"kill -9 {name.partition('-')[0]}")
        if name == "ticker":
            self.at.start("ticker", "manage.py", "ticker")
        else:
            self.start_worker(name)

    def kills(self) -> None:
        """A hundred kills while a thousand nodes run."""
        for _ in range(KILLS):
            pk = self.submit()
            time.sleep(self.dice.uniform(0.0, 0.15))
            self.kill()
            if self.dice.random() < 0.1:
                self.settle(pk)
            time.sleep(self.dice.uniform(0.2, 0.6))
        for pk in self.swarms:
            self.settle(pk)

    def stopped(self) -> None:
        """SIGSTOP of a worker for longer than its lease, then SIGCONT: what it reports late is refused."""
        for _ in range(3):
            pk = self.submit()
            time.sleep(self.dice.uniform(0.0, 0.1))
            process = self.at.processes[f"worker-{self.dice.randrange(SPARES)}"]
            tree = _tree(process.pid)
            for one in tree:
                os.kill(one, signal.SIGSTOP)
            self.count("SIGSTOP worker")
            time.sleep(LEASE + 1)
            for one in tree:
                os.kill(one, signal.SIGCONT)
            self.settle(pk)

    def claimed_and_dead(self) -> None:
        """A worker claims and dies at once: how long until the next attempt starts."""
        from bench import swarm
        from swarms import control
        from tenants.context import in_schema

        worst, tries = 0.0, 0
        while tries < 5:
            pk = self.submit()
            swarm.adopt(self.of, pk)
            with in_schema(self.of.schema_name), connection.cursor() as cursor:
                claimed = control.step(cursor, pk, [], claim=NODES).claimed
            died = time.monotonic()
            if not claimed:
                continue  # a worker was faster
            tries += 1
            self.count("worker dead between claim and completion")
            wait_for(partial(self._tried_again, UUID(claimed[0]["node"])), "no next attempt", seconds=60)
            worst = max(worst, time.monotonic() - died)
            self.settle(pk)
        self.figures["dead worker: next attempt starts after s"] = (worst, LEASE + 2)

    def _tried_again(self, node: UUID) -> bool:
        from swarms.models import Attempt
        from tenants.context import in_schema

        with in_schema(self.of.schema_name):
            return Attempt.objects.filter(node=node, number=2).exists()

    def messages_lost(self) -> None:
        """The broker is wiped right after a swarm was submitted."""
        usual = min(self.settle(self.submit()) for _ in range(3))
        worst = 0.0
        for _ in range(5):
            pk = self.submit()
            self.forget()
            worst = max(worst, self.settle(pk) - usual)
        self.figures["hints lost or broker wiped: added s"] = (worst, 3.0)

    def forget(self) -> None:
        with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
            client.flushall()
        self.count("FLUSHALL")

    def redis_away(self) -> None:
        """Valkey is killed and stays away for 10 s; goals are stated all the same."""
        os.kill(marks(self.at.folder)["valkey"].pid, signal.SIGKILL)
        self.count("Valkey away 10 s")
        failed, until, stated = 0, time.monotonic() + 10, []
        while time.monotonic() < until:
            try:
                stated.append(self.submit())
            except Exception as error:
                failed += 1
                print(f"a write failed while Redis was away: {error}")
            time.sleep(0.5)
        ensure(self.at.folder, only=("valkey",), bound=True)
        began = time.monotonic()
        for pk in stated:
            self.settle(pk)
        self.figures["writes that failed while Redis was away"] = (failed, 0)
        self.figures["Redis back: backlog done after s"] = (time.monotonic() - began, 20.0)

    def postgres_stops(self) -> None:
        """Postgres is stopped at once, in the middle of a swarm, and started again."""
        pk = self.submit()
        time.sleep(0.05)
        os.kill(marks(self.at.folder)["postgres"].pid, signal.SIGQUIT)
        self.count("Postgres immediate stop")
        time.sleep(0.5)
        ensure(self.at.folder, only=("postgres",), bound=True)
        connection.close()
        _patiently(lambda: self.settle(pk))

    def check(self) -> list[str]:
        """Everything that must hold now."""
        from tenants.context import in_schema

        with in_schema(self.of.schema_name), connection.cursor() as cursor:
            cursor.execute(_EFFECTS)
            nodes, lost, double = (int(one) for one in cursor.fetchone())
            cursor.execute(_LOST)
            delays = [float(row[0]) for row in cursor.fetchall()]
        self.figures["nodes lost"] = (lost, 0)
        self.figures["nodes with two effects"] = (double, 0)
        time.sleep(5)
        done = subprocess.run(
            [sys.executable, "manage.py", "verify", "--json", "--replay"],
            cwd=PROJECT_ROOT,
            env=self.at.environment,
            capture_output=True,
            text=True,
        )
        told = json.loads(done.stdout)
        self.figures["violations of invariants"] = (sum(told["counts"].values()), 0)
        for violation in told["violations"][:10]:
            print(violation)
        slowest = max(delays, default=0.0)
        print(f"{nodes} nodes; {len(delays)} attempts were lost and made again (at most {slowest:.1f} s)")
        return [name for name, (value, most) in self.figures.items() if value > most]


def main(seed: int) -> int:
    """Inject, recover, check. Returns 1 when a figure misses its threshold."""
    with stage(**CLOCK) as at:
        from bench import swarm

        logging.disable(logging.CRITICAL)
        of = swarm.team("chaos")
        workers(at, SPARES)
        chaos = Chaos(at, of, seed)
        for act in (
            chaos.claimed_and_dead,
            chaos.messages_lost,
            chaos.kills,
            chaos.stopped,
            chaos.redis_away,
            chaos.postgres_stops,
        ):
            print(f"--- {act.__name__}: {act.__doc__}", flush=True)
            act()
        missed = chaos.check()
    print("\ninjected: " + ", ".join(f"{n} × {what}" for what, n in chaos.injected.items()))
    for name, (value, most) in chaos.figures.items():
        print(f"{name:62} {value:9.3f}  ≤ {most:<6} {'missed' if name in missed else 'reached'}")
    told = {name: {"value": value, "at_most": most} for name, (value, most) in chaos.figures.items()}
    RESULTS.write_text(json.dumps({"seed": seed, "injected": chaos.injected, "figures": told}, indent=2) + "\n")
    return 1 if missed else 0


def _tree(pid: int) -> list[int]:
    from bench.stage import descendants

    return sorted(descendants([pid]))


def _kill_tree(pid: int) -> None:
    for one in _tree(pid):
        try:
            os.kill(one, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it went with its parent


def _patiently(verb: Callable[[], object]) -> None:
    for _ in range(60):
        try:
            verb()
            return
        except OperationalError:
            connection.close()
            time.sleep(0.5)
    raise TimeoutError("the database does not come back")


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1))
