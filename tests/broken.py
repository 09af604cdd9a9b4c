"""A scene in which every invariant holds, and a hand in the database that breaks each: for tests of verify."""

from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from agents import executions
from agents.contracts import Assignment, PlanNode, PlanProposal
from agents.models import Budget, Execution, ModelCall
from sessions.events import publish
from sessions.models import Artifact, Backlog, Content, Event, Webhook
from swarms.digests import digest
from swarms.models import Approval, Attempt, CheckRun, Edge, Merge, Node, Plan, Swarm
from tenants import turns
from tenants.models import Due, Outbox, Placement, Team, Ticket
from tests.conftest import user_of
from tests.hands import Hands

PLAN = PlanProposal(
    summary="One, then two and a risky one, then one that joins the two.",
    nodes=(
        PlanNode(key="a", title="a", role="developer", instructions="a", writes=("a.txt",)),
        PlanNode(key="b", title="b", role="developer", instructions="b", writes=("b.txt",), depends_on=("a",)),
        PlanNode(key="c", title="c", role="developer", instructions="c", writes=("c.txt",), depends_on=("a",)),
        PlanNode(key="d", title="d", role="reviewer", instructions="d", depends_on=("b", "c")),
        PlanNode(
            key="h", title="h", role="developer", instructions="h", writes=("h.txt",), depends_on=("a",), risk="high"
        ),
    ),
)
TABLES = ("swarms_node", "swarms_edge", "swarms_attempt", "swarms_swarm", "swarms_plan", "swarms_checkrun")
TABLES += ("swarms_merge", "swarms_approval", "agents_execution")


class Halting(Hands):
    """Takes one assignment at a time; leaves what begins with `b` undone while it is told to."""

    halts = False

    def carry_out(self, assignment: Assignment) -> list[str]:
        if self.halts and assignment.title.startswith("b "):
            return []
        return super().carry_out(assignment)


def worker(assignment: Assignment, work: Path) -> str:
    key = assignment.briefing.split("`")[1]
    (work / f"{key}.txt").write_text(key)
    return f"wrote {key}"


class Scene:
    """A swarm that landed, and one in which `a` is done, `b` runs, `c` is ready, `d` waits and `h` asks a person."""

    def __init__(self, team: Team, done: Swarm, live: Swarm) -> None:
        self.team, self.done, self.live = team, done, live

    def node(self, key: str, of: Swarm | None = None) -> Node:
        return Node.objects.get(swarm=of or self.live, key=key)

    def attempt(self, key: str, of: Swarm | None = None) -> Attempt:
        return Attempt.objects.get(node=self.node(key, of))

    def tell(self, noun: str, pk: UUID, *states: str, of: Swarm | None = None) -> None:
        """The events of moves through these states."""
        for before, after in pairwise(states):
            publish((of or self.live).topic, f"{noun}.moved", id=str(pk), before=before, after=after)

    def approval(self, kind: str, of: Swarm, **fields: Any) -> None:
        """A pending approval whose end is due."""
        until = timezone.now() + timedelta(days=1)
        made = Approval.objects.create(
            swarm=of, kind=kind, title=kind, subject={}, digest=digest({}), expires_at=until, **fields
        )
        turns.due("approval", made.pk, after=timedelta(days=1))

    def again(self, key: str, of: Swarm, **fields: Any) -> Attempt:
        """A second attempt, by the control plane itself."""
        sql("DROP INDEX one_live_attempt_per_node; DROP INDEX one_success_per_node")
        Node.objects.filter(swarm=of, key=key).update(attempts_made=2)
        return Attempt.objects.create(node=self.node(key, of), number=2, base_commit="", fence=UUID(int=1), **fields)

    def merge(self, **fields: Any) -> Merge:
        """An entry of the merge queue for `b`."""
        return Merge.objects.create(swarm=self.live, attempt=self.attempt("b"), **fields)

    def execution(self, subject: str) -> Execution:
        """A live execution."""
        old = Execution.objects.get(subject=f"node:{self.node('b').pk}")
        return executions.open_execution(
            kind="work", subject=subject, swarm=self.live.pk, runner=old.runner, agent="x", title="x", assignment={}
        )


def sql(statement: str, *words: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, words or None)


Break = Callable[[Scene], object]
BREAKS: dict[str, tuple[Break, set[str]]] = {}
"""How each invariant is broken, and what else does not hold then."""


def breaks(name: str, *also: str) -> Callable[[Break], Break]:
    def add(function: Break) -> Break:
        assert name not in BREAKS
        BREAKS[name] = function, {name, *also}
        return function

    return add


def plain(name: str, statement: str, *words: Callable[[Scene], Any], also: tuple[str, ...] = ()) -> None:
    breaks(name, *also)(lambda scene: sql(statement, *[word(scene) for word in words]))


def done(scene: Scene) -> UUID:
    return scene.done.pk


def live(scene: Scene) -> UUID:
    return scene.live.pk


def node(key: str) -> Callable[[Scene], UUID]:
    return lambda scene: scene.node(key).pk


def node_done(key: str) -> Callable[[Scene], UUID]:
    return lambda scene: scene.node(key, scene.done).pk


def attempt_done(scene: Scene) -> UUID:
    return scene.attempt("a", scene.done).pk


plain(
    "archived_rests",
    "UPDATE swarms_project SET state = 'archived' FROM swarms_swarm s WHERE s.id = %s",
    live,
    also=("state_told",),
)
plain("swarm_ended_at", "UPDATE swarms_swarm SET ended_at = NULL WHERE id = %s", done)
breaks("ended_is_quiet")(lambda scene: scene.approval("landing", scene.done))
plain("landed_once", "UPDATE swarms_swarm SET landed_commit = '' WHERE id = %s", done)
plain("rolled_back", "UPDATE swarms_node SET undoes_id = %s WHERE id = %s", node("b"), node_done("a"))


@breaks("one_plan")
def _one_plan(scene: Scene) -> None:
    plan = Plan.objects.get(swarm=scene.live)
    scene.tell("plan", plan.pk, "approved", "superseded")
    Plan.objects.update_or_create(pk=plan.pk, defaults={"state": "superseded"})


plain("edge_counts", "UPDATE swarms_node SET deps_left = 1, deps_ok = 1 WHERE id = %s", node("d"))
plain("edge_verdict", "UPDATE swarms_edge SET resolved = false WHERE child_id = %s", node_done("d"))


@breaks("edge_settled")
def _edge_settled(scene: Scene) -> None:
    Edge.objects.filter(child=scene.node("c")).update(resolved=None)
    Node.objects.filter(pk=scene.node("c").pk).update(deps_left=1, deps_ok=0)


plain(
    "edge_inside",
    "UPDATE swarms_edge SET parent_id = %s WHERE child_id = %s AND parent_id = %s",
    node("a"),
    node_done("d"),
    node_done("b"),
)
plain("path_falls", "UPDATE swarms_node SET path_length = 9 WHERE id = %s", node("d"))


@breaks("nothing_stuck")
def _nothing_stuck(scene: Scene) -> None:
    Edge.objects.filter(child=scene.node("d")).delete()
    Node.objects.filter(pk=scene.node("d").pk).update(parents=0, deps_left=0)


@breaks("skipped_rightly")
def _skipped_rightly(scene: Scene) -> None:
    pk = scene.node("d").pk
    sql("UPDATE swarms_node SET state = 'skipped', ended_at = now(), because = %s WHERE id = %s", SKIPPED, pk)
    scene.tell("node", pk, "blocked", "skipped")


SKIPPED = "it can no longer run: its parents ended otherwise than all_success asks"
plain("node_ended_at", "UPDATE swarms_node SET ended_at = NULL WHERE id = %s", node_done("a"))
breaks("node_live", "node_leased")(lambda scene: scene.again("a", scene.live, lease_until=timezone.now()))


def _moves_on(scene: Scene, *states: str, kind: str = "agent") -> None:
    sql("UPDATE swarms_node SET state = %s, kind = %s WHERE id = %s", states[-1], kind, scene.node("b").pk)
    scene.tell("node", scene.node("b").pk, "running", *states)


breaks("node_leased", "node_as_planned")(lambda scene: _moves_on(scene, "verifying", kind="plan"))
breaks("node_verified", "node_leased")(lambda scene: _moves_on(scene, "verifying"))


@breaks("node_queued", "merged_was_checked")
def _node_queued(scene: Scene) -> None:
    scene.merge()
    turns.due("merge", scene.live.pk, after=timedelta(seconds=2))


@breaks("node_asked")
def _node_asked(scene: Scene) -> None:
    pk = Approval.objects.get(swarm=scene.live, kind="node").pk
    sql("UPDATE swarms_approval SET state = 'void' WHERE id = %s", pk)
    scene.tell("approval", pk, "pending", "void")
    turns.settled("approval", pk)


plain("attempts_dense", "UPDATE swarms_node SET attempts_made = 2 WHERE id = %s", node_done("a"))
plain("attempts_bounded", "UPDATE swarms_node SET failures = max_attempts + 1 WHERE id = %s", node_done("a"))
breaks("one_live_attempt")(lambda scene: scene.again("b", scene.live, lease_until=timezone.now()))


@breaks("one_success")
def _one_success(scene: Scene) -> None:
    made = scene.again("a", scene.done, state="succeeded", ended_at=timezone.now())
    scene.tell("attempt", made.pk, "leased", "succeeded", of=scene.done)


plain(
    "attempt_ended_at",
    "UPDATE swarms_attempt SET ended_at = NULL WHERE id = %s",
    attempt_done,
)
plain(
    "attempt_has_one_lease",
    "UPDATE swarms_attempt SET fence = id WHERE id = %s",
    attempt_done,
)
plain(
    "execution_ended_at",
    "ALTER TABLE agents_execution DROP CONSTRAINT execution_live_or_ended;"
    "UPDATE agents_execution SET ended_at = NULL WHERE subject = 'node:' || %s",
    node_done("a"),
)


@breaks("one_live_execution")
def _one_live_execution(scene: Scene) -> None:
    sql("DROP INDEX one_live_execution_per_subject")
    second = scene.execution(f"node:{scene.node('b').pk}")
    Execution.objects.filter(pk=second.pk).update(cancel_at=timezone.now())


breaks("execution_wanted")(lambda scene: scene.execution(f"node:{scene.node('d').pk}"))
plain(
    "execution_let_go",
    "UPDATE public.tenants_token SET revoked_at = NULL FROM agents_execution x"
    " WHERE tenants_token.subject = 'execution:' || x.id AND x.subject = 'node:' || %s",
    node_done("a"),
)


@breaks("checks_worked_on")
def _checks_worked_on(scene: Scene) -> None:
    run = CheckRun.objects.create(swarm=scene.live, purpose="before", state="running")
    scene.tell("check_run", run.pk, "waiting", "running")


@breaks("one_exact_check_run")
def _one_exact_check_run(scene: Scene) -> None:
    sql("DROP INDEX one_exact_check_run")
    run = CheckRun.objects.create(swarm=scene.live, purpose="exact", attempt=scene.attempt("a"))
    turns.queue("checks", run.pk)


plain(
    "one_merge_at_a_time",
    "DROP INDEX one_merge_at_a_time; UPDATE swarms_merge SET state = 'checking' WHERE swarm_id = %s",
    done,
    also=("state_told", "node_queued", "merge_checked", "ended_is_quiet", "success_was_merged"),
)


@breaks("merge_checked", "node_queued", "merged_was_checked")
def _merge_checked(scene: Scene) -> None:
    scene.tell("merge", scene.merge(state="checking").pk, "queued", "checking")


plain("node_as_planned", "UPDATE swarms_node SET instructions = 'rather this' WHERE id = %s", node("c"))
plain(
    "edge_as_planned",
    "UPDATE swarms_edge SET condition = %s WHERE child_id = %s AND parent_id = %s",
    lambda _: '{"field": "summary", "values": ["x"]}',
    node("d"),
    node("b"),
)
plain("says_when_done", """UPDATE swarms_node SET output = '{"verdict": "approve"}' WHERE id = %s""", node("b"))
plain(
    "belongs_to_one_swarm",
    "UPDATE agents_execution SET swarm = %s WHERE subject = 'node:' || %s",
    done,
    node("a"),
)
plain(
    "checks_say_so",
    "UPDATE swarms_checkrun SET checks = checks || %s WHERE purpose = 'integration' AND swarm_id = %s",
    lambda _: '[{"name": "another", "command": "false"}]',
    done,
)
plain(
    "merged_was_checked",
    "UPDATE swarms_checkrun SET purpose = 'before' WHERE purpose = 'merged' AND swarm_id = %s",
    done,
)
plain("success_was_merged", "UPDATE swarms_node SET commit = '' WHERE id = %s", node_done("a"))
plain("branch_is_merges", "UPDATE swarms_merge SET onto = '' WHERE swarm_id = %s", done)
plain(
    "landed_was_checked",
    "UPDATE swarms_checkrun SET purpose = 'before' WHERE purpose = 'landing' AND swarm_id = %s",
    done,
)
plain("swarm_times", "UPDATE swarms_swarm SET started_at = NULL WHERE id = %s", done)
plain(
    "merged_succeeded",
    "UPDATE swarms_merge SET commit = '' WHERE swarm_id = %s",
    done,
    also=("merged_was_checked", "success_was_merged", "branch_is_merges"),
)
breaks("ready_has_ticket")(lambda scene: Ticket.objects.filter(subject=scene.node("c").pk).delete())
breaks("waiting_checks_have_ticket")(lambda scene: CheckRun.objects.create(swarm=scene.live, purpose="before"))
breaks("draft_is_written")(lambda scene: Plan.objects.create(swarm=scene.live, version=9, source="coordinator"))
breaks("ticket_is_wanted")(lambda scene: turns.queue("node", scene.node("a").pk, swarm=scene.live.pk))
breaks("live_is_placed")(lambda scene: Placement.objects.filter(team=scene.team).delete())
breaks("lease_is_watched")(lambda scene: Due.objects.filter(team=scene.team, kind="lease").delete())
breaks("merge_is_hinted", "node_queued", "merged_was_checked")(lambda scene: scene.merge())


@breaks("one_pending_approval")
def _one_pending_approval(scene: Scene) -> None:
    sql("DROP INDEX one_pending_approval_per_subject")
    scene.approval("node", scene.live, node=scene.node("h"))


plain(
    "decided_has_decider",
    "ALTER TABLE swarms_approval DROP CONSTRAINT decided_has_decider;"
    "UPDATE swarms_approval SET decided_by_id = NULL WHERE swarm_id = %s",
    done,
)
plain(
    "four_eyes",
    "ALTER TABLE swarms_approval DROP CONSTRAINT four_eyes;"
    "UPDATE swarms_approval SET four_eyes = true, requested_by_id = decided_by_id WHERE swarm_id = %s",
    done,
)
breaks("call_is_waited_for")(
    lambda scene: scene.approval("tool", scene.live, execution=scene.attempt("a").execution, call="x")
)
plain("exposed_was_approved", "UPDATE swarms_node SET trifecta = true WHERE id = %s", node("b"))
breaks("approval_expires")(lambda scene: Due.objects.filter(team=scene.team, kind="approval").delete())
breaks("plan_question_is_current")(
    lambda scene: scene.approval("plan", scene.live, plan=Plan.objects.get(swarm=scene.live))
)


def budget(subject: str, **fields: int) -> Budget:
    """A budget whose limit was told."""
    publish(subject, "budget.set", budget=subject, limit_microusd=5, soft_percent=80)
    return Budget.objects.create(subject=subject, limit_microusd=5, **fields)


@breaks("budget_line", "budget_spent")
def _budget_line(scene: Scene) -> None:
    sql("ALTER TABLE agents_budget DROP CONSTRAINT budget_hard_line")
    budget("team", spent_microusd=-1)


def _spent(scene: Scene) -> str:
    """A model call that cost three millionths, for which nobody has a budget yet."""
    call = ModelCall.objects.create(execution=scene.attempt("b").execution, model="x", status=200, cost_microusd=3)
    Execution.objects.filter(pk=call.execution_id).update(spent_microusd=3, budgets=[scene.live.topic])
    return scene.live.topic


breaks("budget_full")(lambda scene: budget(_spent(scene), spent_microusd=2, over_microusd=1))
breaks("budget_spent")(lambda scene: budget(_spent(scene), spent_microusd=2))
breaks("budget_reserved")(lambda scene: budget(scene.live.topic, reserved_microusd=1))


@breaks("budget_limit")
def _budget_limit(scene: Scene) -> None:
    budget("team")
    Budget.objects.update(limit_microusd=6)


plain(
    "calls_are_booked",
    "UPDATE agents_execution SET spent_microusd = 1 WHERE subject = 'node:' || %s",
    node("b"),
)
plain(
    "events_gapless",
    "DELETE FROM agent_sessions_event WHERE kind = 'decision.made' AND subject = 'swarm:' || %s",
    live,
)
plain(
    "events_in_order", "UPDATE agent_sessions_event SET position = 999 WHERE seq = 1 AND subject = 'swarm:' || %s", live
)
breaks("events_announced")(
    lambda scene: Outbox.objects.filter(event=Event.objects.get(subject=scene.live.topic, seq=3).pk).delete()
)


def retell(scene: Scene, was: str, **payload: str) -> None:
    """Other words for a move of `a` in the swarm that landed."""
    event = Event.objects.get(kind="node.moved", payload__id=str(node_done("a")(scene)), payload__after=was)
    event.payload |= payload
    event.save()


@breaks("moves_legal")
def _moves_legal(scene: Scene) -> None:
    retell(scene, "succeeded", before="blocked")
    retell(scene, "merging", after="blocked")


breaks("moves_join")(lambda scene: retell(scene, "succeeded", before="verifying"))
plain(
    "state_told",
    "UPDATE swarms_merge SET state = 'refused' WHERE swarm_id = %s",
    done,
    also=("success_was_merged",),
)


@breaks("began_in_turn")
def _began_in_turn(scene: Scene) -> None:
    Edge.objects.create(parent=scene.node("c"), child=scene.node("b"))
    Node.objects.filter(pk=scene.node("b").pk).update(parents=2, deps_left=1)


@breaks("artifact_has_content")
def _artifact_has_content(scene: Scene) -> None:
    content = Content.objects.create(sha256="0" * 64, size=1, kept_until=timezone.now())
    made = {"name": "x", "media_type": "text/plain", "made_by": "x"}
    Artifact.objects.create(subject=scene.live.topic, content=content, **made)


plain("deadline_is_watched", "UPDATE swarms_swarm SET deadline_at = now() + interval '1 day' WHERE id = %s", live)
plain(
    "looked_at_in_time",
    "UPDATE public.tenants_due SET due_at = now() + interval '2 hours' WHERE kind = 'lease' AND subject = %s",
    lambda scene: scene.attempt("b").execution_id,
)
plain("ticket_in_order", "UPDATE public.tenants_ticket SET priority = 7 WHERE subject = %s", node("c"))


@breaks("webhook_is_due")
def _webhook_is_due(scene: Scene) -> None:
    to = {"name": "x", "url": "https://8.8.8.8/", "secret": "x", "created_by": user_of("alice", "acme")}
    webhook = Webhook.objects.create(position=10**9, **to)
    Backlog.objects.create(webhook=webhook, subject=scene.live.topic, seq=0, due_at=timezone.now())
