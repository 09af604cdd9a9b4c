"""A swarm that everything happens to, in any order: rules for Hypothesis, on real Postgres and a small repository.

Each example lives in a savepoint. Hints are calls of the verbs that actors call; those that are not drawn are lost.
What workers, runners and people do is in machine_work and machine_people; here are the clock, rogues, and what must
hold after each step and at the end.
"""

import sys
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from typing import Any, ClassVar

from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from agents import executions
from agents.contracts import PlanProposal
from swarms import allowances, approvals, control, operations, reconcile, rollback, sweep
from swarms.models import Approval, Node, Project
from swarms.states import SWARM_ENDED, SWARM_PAUSED
from tenants import runners
from tenants.models import Due, Placement, Runner
from tests.conftest import user_of
from tests.invariants import violations
from tests.machine_people import People
from tests.machine_plans import plans
from tests.machine_stage import adopted, forget
from tests.machine_work import GIT, Work

SHIFT = """
UPDATE public.tenants_due SET due_at = due_at - %(by)s;
UPDATE public.tenants_ticket SET not_before = not_before - %(by)s, created_at = created_at - %(by)s,
  parked_at = parked_at - %(by)s;
UPDATE public.tenants_placement SET delivered_at = delivered_at - %(by)s WHERE delivered_at IS NOT NULL;
UPDATE agents_execution SET lease_until = lease_until - %(by)s, progress_at = progress_at - %(by)s,
  deadline_at = deadline_at - %(by)s WHERE ended_at IS NULL;
UPDATE swarms_attempt SET lease_until = lease_until - %(by)s WHERE ended_at IS NULL AND lease_until IS NOT NULL;
UPDATE swarms_node SET not_before = not_before - %(by)s WHERE state = 'ready';
UPDATE swarms_approval SET expires_at = expires_at - %(by)s WHERE state = 'pending';
UPDATE swarms_swarm SET deadline_at = deadline_at - %(by)s WHERE deadline_at IS NOT NULL AND ended_at IS NULL;
"""
ROGUE = (
    "UPDATE swarms_swarm SET state = 'succeeded' WHERE state NOT IN ('landing', 'succeeded')",
    "UPDATE swarms_swarm SET state = 'rolled_back' WHERE state NOT IN ('rolling_back', 'rolled_back')",
    "UPDATE swarms_node SET state = 'merging' WHERE state NOT IN ('verifying', 'merging')",
    "UPDATE swarms_node SET because = 'rewritten' WHERE state IN ('succeeded', 'failed', 'skipped', 'cancelled')",
    "UPDATE swarms_attempt SET state = 'succeeded' WHERE ended_at IS NOT NULL AND state <> 'succeeded'",
    "UPDATE agents_execution SET state = 'running' WHERE ended_at IS NOT NULL",
    "UPDATE swarms_approval SET state = 'approved' WHERE state = 'pending'",
    "UPDATE agents_budget SET reserved_microusd = limit_microusd + 1",
    "UPDATE swarms_node SET deps_left = parents + 1",
    "DELETE FROM swarms_edge e USING swarms_node n WHERE n.id = e.child_id AND n.state <> 'blocked'",
)
ROUNDS = 100


class SwarmMachine(People, Work):
    """Rules, and what must hold after each of them."""

    project: Project
    ends: ClassVar[Counter[str]] = Counter()
    """How many histories ended how."""
    faults: ClassVar[list[Exception]] = []
    """What broke histories. Of one that does not repeat (by the clock, say) Hypothesis tells nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.savepoint = transaction.savepoint()
        self.by = user_of("alice", "acme")
        runners.register("machine")
        Runner.objects.filter(name="machine").update(
            capacity=2, channel="nowhere", sandbox="none", seen_at=timezone.now() + timedelta(days=300)
        )

    @initialize(plan=plans(), asks=st.booleans(), takes_back=st.booleans())
    def begin(self, plan: PlanProposal, asks: bool, takes_back: bool) -> None:
        """A swarm; `takes_back`: once it has ended, somebody rolls it back, if that is possible."""
        Project.objects.filter(pk=self.project.pk).update(approve_landing=asks)
        self.project.refresh_from_db()
        self.swarm = adopted(self.project, plan)
        self.claimed = []
        self.takes_back = takes_back

    def teardown(self) -> None:
        if isinstance(fault := sys.exception(), Exception):
            self.faults.append(fault)
        try:
            if hasattr(self, "swarm"):
                self.come_to_an_end()
        finally:
            transaction.savepoint_rollback(self.savepoint)
            forget(self.project)

    @rule(seconds=st.sampled_from([1, 5, 31, 700, 4_000, 700_000]))
    def time_passes(self, seconds: int) -> None:
        with connection.cursor() as cursor:
            for statement in SHIFT.strip().split(";\n"):
                words: dict[str, Any] = {"by": timedelta(seconds=seconds)}
                cursor.execute(statement.rstrip(";"), words)

    @rule()
    def tick(self) -> None:
        reconcile.tick()

    @rule()
    def slow_look(self) -> None:
        sweep.Sweep().look(self.team.pk)

    @rule(sql=st.sampled_from(ROGUE))
    def rogue(self, sql: str) -> None:
        """Whoever writes past the verbs is refused, or finds nothing to write."""
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(sql)
                assert cursor.rowcount <= 0, f"went through: {sql}"
        except DatabaseError:
            return

    @invariant()
    def nothing_is_violated(self) -> None:
        if hasattr(self, "swarm"):
            self.is_whole()
            self.landed_by_decision()

    def is_whole(self, *, quiet: bool = False) -> None:
        wrong = violations(self.team.schema_name, quiet=quiet)
        assert not wrong, wrong

    def landed_by_decision(self) -> None:
        """Where a person is asked about landings, nothing goes to the target branch without a yes to it."""
        self.swarm.refresh_from_db()
        if not self.swarm.project.approve_landing:
            return
        said_yes = Approval.objects.filter(kind="landing", state="approved", swarm=self.swarm).count()
        landings = bool(self.swarm.landed_commit) + bool(self.swarm.rolled_back_commit)
        assert said_yes >= landings, f"{landings} landings, {said_yes} approved"

    def come_to_an_end(self) -> None:
        """Whatever was lost on the way: left alone with its runners, reconciler and people, the swarm ends."""
        allowances.set_budget(self.swarm.topic, None, 80, by=self.by)
        for _ in range(ROUNDS):
            self.swarm.refresh_from_db()
            if self.swarm.state in SWARM_ENDED and not self.is_to_be_rolled_back():
                self.ends[f"{self.swarm.state}, {'landed' if self.swarm.landed_commit else 'never landed'}"] += 1
                return
            self.everybody_does_their_part()
            self.nothing_is_violated()
        states = dict(Node.objects.filter(swarm=self.swarm).values_list("key", "state"))
        raise AssertionError(f"stuck: {self.swarm.state}, {self.swarm.because}, {states}")

    def is_to_be_rolled_back(self) -> bool:
        """Somebody takes back what it did, once; and what was asked for and approved begins."""
        if self.takes_back and rollback.possible(self.swarm):
            self.takes_back = False
            rollback.request(self.swarm, by=self.by)
            return True
        return bool(rollback.answer(self.swarm) in ("pending", "approved"))

    def everybody_does_their_part(self) -> None:
        """People agree, time passes, the reconciler looks, workers and runners work."""
        if self.swarm.state in SWARM_PAUSED:
            operations.resume(self.swarm, by=self.by)
        for one in Approval.objects.filter(state="pending", expires_at__gt=timezone.now()):
            with suppress(approvals.NotDecidable):  # its subject has changed: another one is asked for
                approvals.approve(one, by=self.by)
        self.time_passes(31)
        reconcile.tick()
        sweep.Sweep().look(self.team.pk)
        control.serve()
        for kind, subject in Due.objects.filter(kind__in=GIT, team=self.team).values_list("kind", "subject"):
            GIT[kind](subject)
        for placed in Placement.objects.filter(team=self.team):
            found = executions.deliver(placed.execution, self.team)
            if found and executions.accept(found.execution, found.fence) == "continue":
                executions.settle(found.execution, found.fence, self.outcome(found, "good"))
