"""A swarm that everything happens to, in any order: rules for Hypothesis, on real Postgres.

Each example lives in a savepoint. Hints are calls of the verbs that actors call; those that are not drawn are lost.
Work is done by reviews, which need no repository; what would need one (landing) is where a history ends.
"""

from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from agents import budgets, executions
from agents.contracts import (
    Assignment,
    CheckOutcome,
    CheckResult,
    FailureOutcome,
    FailureReason,
    Outcome,
    PlanNode,
    PlanProposal,
    ReviewOutcome,
)
from agents.models import Execution
from agents.states import LIVE
from swarms import approvals, control, dispatch, engine, operations, plan_yaml, reconcile, replan, sweep
from swarms.models import Approval, Attempt, Node
from swarms.release import FAN_IN, ON_FAILURE
from swarms.states import SWARM_ENDED
from tenants import runners
from tenants.ids import uuid7
from tenants.models import Placement, Runner, Team, User
from tests.conftest import user_of
from tests.invariants import violations
from tests.milestones import adopted

KEYS = "abcde"
LAST = frozenset({*SWARM_ENDED, "landing"})
SHIFT = """
UPDATE public.tenants_due SET due_at = due_at - %(by)s;
UPDATE public.tenants_ticket SET not_before = not_before - %(by)s, created_at = created_at - %(by)s;
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
    "UPDATE swarms_node SET state = 'merging' WHERE state NOT IN ('verifying', 'merging')",
    "UPDATE swarms_node SET because = 'rewritten' WHERE state IN ('succeeded', 'failed', 'skipped', 'cancelled')",
    "UPDATE swarms_attempt SET state = 'succeeded' WHERE ended_at IS NOT NULL AND state <> 'succeeded'",
    "UPDATE agents_execution SET state = 'running' WHERE ended_at IS NOT NULL",
    "UPDATE swarms_approval SET state = 'approved' WHERE state = 'pending'",
    "UPDATE agents_budget SET reserved_microusd = limit_microusd + 1",
    "UPDATE swarms_node SET deps_left = parents + 1",
    "DELETE FROM swarms_edge e USING swarms_node n WHERE n.id = e.child_id AND n.state <> 'blocked'",
)


@st.composite
def plans(draw: st.DrawFn) -> PlanProposal:
    """Reviews and milestones with every rule."""
    nodes = []
    for place, key in enumerate(KEYS):
        before = sorted(draw(st.sets(st.sampled_from(KEYS[:place]), max_size=2))) if place else []
        kind = draw(st.sampled_from(["agent", "agent", "noop"]))
        nodes.append(
            PlanNode(
                key=key,
                title=key,
                kind=kind,  # type: ignore[arg-type]
                role="reviewer" if kind == "agent" else "",
                instructions=key if kind == "agent" else "",
                depends_on=tuple(before),
                risk=draw(st.sampled_from(["low", "low", "high"])),  # type: ignore[arg-type]
                fan_in=draw(st.sampled_from(sorted(FAN_IN))) if before else "all_success",  # type: ignore[arg-type]
                on_failure=draw(st.sampled_from([*ON_FAILURE, "continue", "skip_descendants"])),  # type: ignore[arg-type]
            )
        )
    return PlanProposal(summary="random", nodes=tuple(nodes))


class SwarmMachine(RuleBasedStateMachine):
    """Rules, and what must hold after each of them."""

    team: Team
    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.savepoint = transaction.savepoint()
        self.by: User = user_of("alice", "acme")
        runners.register("machine")
        Runner.objects.filter(name="machine").update(
            capacity=2, channel="nowhere", sandbox="none", seen_at=timezone.now() + timedelta(days=300)
        )

    @initialize(plan=plans())
    def begin(self, plan: PlanProposal) -> None:
        self.swarm = adopted(plan)
        self.claimed: list[dict[str, str]] = []
        self.known: list[Assignment] = []

    def teardown(self) -> None:
        try:
            if hasattr(self, "swarm"):
                self.come_to_an_end()
        finally:
            transaction.savepoint_rollback(self.savepoint)

    @rule(times=st.integers(1, 2))
    def hint(self, times: int) -> None:
        for _ in range(times):
            engine.advance(self.swarm.pk)

    @rule()
    def hint_of_the_control_lane(self) -> None:
        control.serve()

    @rule(claim=st.integers(0, 2))
    def claim(self, claim: int) -> None:
        """A worker claims, and may die before it completes."""
        with connection.cursor() as cursor:
            self.claimed += control.step(cursor, self.swarm.pk, [], claim=claim).claimed

    @precondition(lambda self: self.claimed)
    @rule(data=st.data(), is_forged=st.booleans())
    def complete(self, data: st.DataObject, is_forged: bool) -> None:
        """Completes what was claimed once, perhaps long ago; a wrong fence never does."""
        one = data.draw(st.sampled_from(self.claimed))
        live = Attempt.objects.filter(pk=one["attempt"], ended_at=None).exists()
        given = one | {"fence": str(uuid7())} if is_forged else one
        with connection.cursor() as cursor:
            took = control.step(cursor, self.swarm.pk, [given], claim=0)
        assert took.stale == (0 if live and not is_forged else 1)

    @rule()
    def turn(self) -> None:
        dispatch.dispatch()

    @rule(target=held, data=st.data())
    def deliver(self, data: st.DataObject) -> Any:
        waiting = list(Placement.objects.filter(team=self.team, delivered_at=None).order_by("execution"))
        if not waiting:
            return None
        found = executions.deliver(data.draw(st.sampled_from(waiting)).execution, self.team)
        if found:
            self.known.append(found)
        return found

    @rule(one=held)
    def accept(self, one: Assignment | None) -> None:
        if one:
            live = Execution.objects.filter(pk=one.execution, state__in=LIVE).exists()
            assert (executions.accept(one.execution, one.fence) == "stale") != live

    @rule(one=held, progress=st.integers(0, 5), is_forged=st.booleans())
    def heartbeat(self, one: Assignment | None, progress: int, is_forged: bool) -> None:
        if one:
            live = Execution.objects.filter(pk=one.execution, state__in=LIVE).exists()
            fence = uuid7() if is_forged else one.fence
            assert (executions.heartbeat(one.execution, fence, progress) == "stale") == (is_forged or not live)

    @rule(one=held, fate=st.sampled_from(["good", "good", "bad", "model_error", "cancelled"]), is_forged=st.booleans())
    def report(self, one: Assignment | None, fate: str, is_forged: bool) -> None:
        """Reports, perhaps long after its end: then nothing changes."""
        if one is None:
            return
        live = Execution.objects.filter(pk=one.execution, state__in=LIVE).exists()
        fence = uuid7() if is_forged else one.fence
        outcome = self.outcome(one, fate)
        same = Execution.objects.filter(pk=one.execution, outcome=outcome.model_dump(mode="json")).exists()
        before = list(Attempt.objects.order_by("pk").values_list("pk", "state"))
        try:
            executions.settle(one.execution, fence, outcome)
            assert live or same
            assert not is_forged
        except executions.Stale:
            assert is_forged or not live
            assert list(Attempt.objects.order_by("pk").values_list("pk", "state")) == before

    def outcome(self, one: Assignment, fate: str) -> Outcome:
        if fate in ("model_error", "cancelled"):
            return FailureOutcome(reason=FailureReason(fate), message="dice")
        if one.kind == "check":
            assert one.repository is not None
            code, commit = int(fate == "bad"), one.repository.commit
            return CheckOutcome(
                results=tuple(
                    CheckResult(name=c.name, command=c.command, commit=commit, exit_code=code, seconds=0.1)
                    for c in one.checks
                )
            )
        return ReviewOutcome(verdict="approve" if fate == "good" else "request_changes", summary=fate)

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

    @rule(verb=st.sampled_from(["pause", "resume", "drain", "cancel", "retry_swarm"]))
    def operate(self, verb: str) -> None:
        self.swarm.refresh_from_db()
        ended = self.swarm.state in SWARM_ENDED
        try:
            with transaction.atomic():
                getattr(operations, verb)(self.swarm, by=self.by)
        except ValidationError:
            return
        assert not ended or verb == "retry_swarm"

    @rule(verb=st.sampled_from(["skip", "retry_node"]), key=st.sampled_from(KEYS))
    def operate_on(self, verb: str, key: str) -> None:
        try:
            with transaction.atomic():
                getattr(operations, verb)(self.swarm.nodes.get(key=key), by=self.by)
        except ValidationError:
            return

    @rule(key=st.sampled_from(KEYS), priority=st.integers(-5, 5))
    def hurry(self, key: str, priority: int) -> None:
        try:
            with transaction.atomic():
                operations.set_priority(self.swarm.nodes.get(key=key), priority, by=self.by)
        except ValidationError:
            return

    @rule(minutes=st.sampled_from([1, 60]))
    def deadline(self, minutes: int) -> None:
        try:
            with transaction.atomic():
                self.swarm.refresh_from_db()
                operations.set_deadline(self.swarm, timezone.now() + timedelta(minutes=minutes), by=self.by)
        except ValidationError:
            return

    @rule(data=st.data(), is_yes=st.booleans())
    def decide(self, data: st.DataObject, is_yes: bool) -> None:
        asked = list(Approval.objects.exclude(state="void").order_by("requested_at"))
        if not asked:
            return
        one = data.draw(st.sampled_from(asked))
        try:
            approvals.approve(one, by=self.by) if is_yes else approvals.reject(one, by=self.by, because="dice")
        except approvals.NotDecidable:
            return
        assert one.state == "pending"

    @rule(limit=st.sampled_from([1, 500_000, 50_000_000]))
    def budget(self, limit: int) -> None:
        try:
            with transaction.atomic():
                budgets.set_limit(self.swarm.topic, limit)
        except ValueError:
            return  # less than is spent or set aside

    @rule(key=st.sampled_from(KEYS), what=st.sampled_from(["drop", "insert", "reword"]))
    def change_the_plan(self, key: str, what: str) -> None:
        self.swarm.refresh_from_db()
        try:
            plan = replan.current(self.swarm)
            nodes = {node.key: node for node in plan.nodes}
            if what == "drop":
                nodes.pop(key, None)
                nodes = {
                    k: n.model_copy(update={"depends_on": tuple(p for p in n.depends_on if p != key)})
                    for k, n in nodes.items()
                }
            elif what == "reword" and key in nodes:
                nodes[key] = nodes[key].model_copy(update={"title": "another title"})
            else:
                fresh = f"x{len(nodes)}{key}"
                nodes[fresh] = PlanNode(key=fresh, title=fresh, kind="noop")
            text = plan_yaml.write_yaml(
                plan.model_copy(update={"nodes": tuple(nodes.values())}).model_dump(mode="json")
            )
            with transaction.atomic():
                replan.change(self.swarm, text, by=self.by)
        except (ValidationError, plan_yaml.PlanFaults):
            return

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
            wrong = self.wrong()
            assert not wrong, wrong

    def wrong(self, *, quiet: bool = False) -> list[str]:
        found = violations(self.team.schema_name, quiet=quiet)
        return [fault for fault in found if "repository" not in fault and "project" not in fault]

    def come_to_an_end(self) -> None:
        """Whatever was lost on the way: left alone with its runners, reconciler and people, the swarm ends."""
        budgets.drop_limit(self.swarm.topic)
        for _ in range(60):
            self.swarm.refresh_from_db()
            if self.swarm.state in LAST:
                return
            if self.swarm.state == "paused":
                operations.resume(self.swarm, by=self.by)
            for one in Approval.objects.filter(state="pending", expires_at__gt=timezone.now()):
                with suppress(approvals.NotDecidable):  # its subject has changed: another one is asked for
                    approvals.approve(one, by=self.by)
            self.time_passes(31)
            reconcile.tick()
            sweep.Sweep().look(self.team.pk)
            control.serve()
            for placed in Placement.objects.filter(team=self.team):
                found = executions.deliver(placed.execution, self.team)
                if found and executions.accept(found.execution, found.fence) == "continue":
                    executions.settle(found.execution, found.fence, self.outcome(found, "good"))
            wrong = self.wrong()
            assert not wrong, wrong
        states = dict(Node.objects.filter(swarm=self.swarm).values_list("key", "state"))
        raise AssertionError(f"stuck: {self.swarm.state}, {states}")
