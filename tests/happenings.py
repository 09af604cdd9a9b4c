"""Everything that may happen to the swarm of the stage, and around it, with its rows and its events."""

from collections.abc import Callable
from datetime import timedelta
from io import BytesIO
from typing import Any
from uuid import UUID, uuid4, uuid5

from django.utils import timezone

from agents import registry, servers, steering
from agents.contracts import Check, Doing, MessageRecord, PartRecord, Usage
from agents.models import Budget, Execution, ModelCall, Server, Steer
from agents.standings import Watch
from sessions import deltas, history, transcript
from sessions.artifacts.keeping import keep, remove
from sessions.events import publish
from sessions.relay import relay_once
from sessions.transitions import move, move_all
from sessions.webhooks import endpoints
from swarms import budgets, exposure, goals, operations, planned, projects, toolrules
from swarms.models import Attempt, CheckRun, Edge, Merge, Node, Plan, Project, Swarm
from tenants.context import current_schema
from tenants.models import Runner
from tests.board_stage import Stage
from tests.conftest import user_of
from tests.stage_parts import execution, plan_document
from tests.web import elsewhere


class Happenings:
    """Everything that may happen to the swarm of the stage, one after the other, with its rows and its events."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.topic = stage, stage.swarm.topic
        self.alice, self.session = user_of("alice", "acme"), stage.live.session
        self.swarm = Swarm.objects.get(pk=stage.swarm.pk)

    def all(self) -> list[Callable[[], object]]:
        return [getattr(self, name) for name in type(self).__dict__ if not name.startswith("_") and name != "all"]

    def _node(self, key: str) -> Node:
        return Node.objects.get(swarm=self.swarm, key=key)

    def doing(self) -> None:
        transcript.record(self.session, [Doing(text="writes <b>a</b> line")])

    def parts_of_every_kind(self) -> None:
        message = MessageRecord(id=uuid4(), role="assistant", model="rehearsal")

        def part(index: int, kind: str, **values: Any) -> PartRecord:
            return PartRecord(id=uuid4(), message=message.id, index=index, kind=kind, **values)

        records = [
            part(0, "text", text="**Hello** there"),
            part(1, "reasoning", text="Hm."),
            part(2, "tool", tool="write_file", input={"path": "printer/x.py"}, output="ok", started_at=timezone.now()),
            part(3, "file", input={"name": "a.md", "mime": "text/markdown"}, text="# A"),
            part(4, "patch", text="diff --git a/x b/x\n+y"),
            part(5, "question", text="Which?", state="failed", output="Nobody answered."),
            part(6, "step", usage=Usage(input_tokens=10, output_tokens=3)),
            part(7, "error", text="a complaint", state="failed"),
        ]
        transcript.record(self.session, [message, *records, Doing(text="has written")])

    def part_that_grows_and_ends(self) -> None:
        message, part = MessageRecord(id=uuid4(), role="assistant"), uuid4()
        for state, text in (("open", "so far"), ("done", "so far and to the end")):
            record = PartRecord(id=part, message=message.id, index=0, kind="text", state=state, text=text)
            transcript.record(self.session, [message, record])
            relay_once()

    def question(self) -> None:
        message = MessageRecord(id=uuid4(), role="assistant")
        self._part = PartRecord(
            id=uuid4(),
            message=message.id,
            index=0,
            kind="question",
            state="open",
            text="Left?",
            input={"options": ["a"]},
        )
        transcript.record(self.session, [message, self._part])

    def answer(self) -> None:
        elsewhere(lambda: steering.answer(self.session, self._part.id, "a", by=self.alice))

    def question_is_closed(self) -> None:
        message = MessageRecord(id=uuid4(), role="assistant")
        asked = PartRecord(id=uuid4(), message=message.id, index=0, kind="question", state="open", text="Right?")
        transcript.record(self.session, [message, asked])
        relay_once()
        closed = {"state": "failed", "output": "Nobody answered."}
        transcript.record(self.session, [asked.model_copy(update=closed)])

    def message_and_that_it_is_heard(self) -> None:
        elsewhere(lambda: steering.say(self.session, "Mind <b>the</b> tests.", by=self.alice))
        relay_once()
        steering.took({self.stage.live.pk: list(Steer.objects.filter(kind="message").values_list("pk", flat=True))})

    def model_called(self) -> None:
        ModelCall.objects.create(
            execution=self.stage.live, model="rehearsal", rehearsal=True, status=200, input_tokens=50, output_tokens=5
        )
        words = {"session": str(self.session.pk), "model": "rehearsal", "rehearsal": True, "status": 200}
        publish(self.topic, "model.called", **words, input_tokens=50, output_tokens=5, cost_microusd=None)

    def budget(self) -> None:
        Budget.objects.filter(subject=self.topic).update(limit_microusd=9_000_000)
        words = {"budget": self.topic, "limit_microusd": 9_000_000, "soft_percent": 80}
        publish(self.topic, "budget.set", **words)

    def paused_and_resumed(self) -> None:
        move(self.swarm, "paused", because="a person wants it")
        relay_once()
        move(self.swarm, "running", because="a person wants it")

    def paused(self) -> None:
        move(self.swarm, "paused", because="once more")

    def resumed(self) -> None:
        move(self.swarm, "running", because="go on")

    def priority_and_deadline(self) -> None:
        operations.set_priority(self.swarm, 7, by=self.alice)
        operations.set_deadline(self.swarm, timezone.now() + timedelta(days=3), by=self.alice)

    def node_moves(self) -> None:
        move(self._node("printer"), "verifying", because="the agent is done")

    def nodes_move_together(self) -> None:
        moves = move_all([self._node("printer")], "ready", because="checks failed")
        publish(self.topic, "nodes.moved", moves=moves)

    def node_runs_again(self) -> None:
        move(self._node("printer"), "running", because="attempt 1 goes on")

    def node_is_planned(self) -> None:
        printer = self._node("printer")
        made = Node.objects.create(
            swarm=self.swarm,
            plan=printer.plan,
            key="extra",
            title="Extra",
            role="developer",
            instructions="Do.",
            state="blocked",
        )
        Edge.objects.create(parent=printer, child=made)
        planned.tell(self.swarm, [made])

    def approval_asked_and_decided(self) -> None:
        publish(self.topic, "approval.asked", approval="x", kind="landing", title="Landing")
        words = {"approval": str(self.stage.landing.pk), "kind": "landing", "title": "Landing", "verdict": "approved"}
        move(self.stage.landing, "approved", because="good", decided_by=self.alice, decided_at=timezone.now())
        publish(self.topic, "approval.decided", **words, by="Alice", automatic=False)

    def plan(self) -> None:
        document = plan_document()
        made = Plan.objects.create(
            swarm=self.swarm, version=2, state="drafting", source="coordinator", document=document, warnings=["Mind."]
        )
        move(made, "proposed", because="it is valid", digest="d")
        words = {"plan": str(made.pk), "version": 2, "source": "coordinator", "nodes": ["a"], "warnings": ["Mind."]}
        publish(self.topic, "plan.proposed", **words)

    def checks(self) -> None:
        run = CheckRun.objects.create(swarm=self.swarm, purpose="integration", commit=self.stage.head, state="waiting")
        move(run, "running", because="on a runner")
        relay_once()
        result = {
            "name": "t",
            "command": "make",
            "commit": self.stage.head,
            "exit_code": 0,
            "seconds": 1.0,
            "output": "x",
        }
        results = [result | {"truncated": False, "passed": 3, "failed": 0}]
        move(run, "passed", because="3 passed", results=results, ended_at=timezone.now())
        words = {"purpose": "integration", "commit": self.stage.head, "passed": 1, "total": 1}
        publish(self.topic, "checks.finished", **words)

    def what_only_the_feed_tells(self) -> None:
        self.stage._tell()
        publish(self.topic, "swarm.rolled_back", branch="main", commit=self.stage.head, pushed="not pushed")

    def artifact_kept_and_removed(self) -> None:
        made = [keep(self.session, BytesIO(name.encode()), name=name, media_type="text/plain") for name in "xy"]
        remove(made[0])

    def merge(self) -> None:
        attempt = Attempt.objects.get(node=self._node("printer"))
        made = Merge.objects.create(swarm=self.swarm, attempt=attempt, state="queued")
        move(made, "conflicted", because="lines", conflicts=["a.py"], ended_at=timezone.now())

    def agent_has_answered(self) -> None:
        Attempt.objects.filter(node=self._node("printer")).update(answers={"sure": "yes"})
        publish(self.topic, "node.answered", node="printer", answers={"sure": "yes"})

    def another_agent(self) -> None:
        live: Execution = execution(self.swarm, self.stage.runner, f"plan:{uuid4()}", "coordinator-3", kind="plan")
        words = {"kind": "plan", "subject": live.subject, "agent": live.agent, "runner": self.stage.runner.name}
        told = words | {"session": str(live.session_id), "title": live.session.title}
        publish(self.topic, "execution.placed", execution=str(live.pk), **told)
        move(live, "running", because="it began", started_at=timezone.now())

    def attempt_ends(self) -> None:
        live = Execution.objects.get(pk=self.stage.live.pk)
        move(live, "failed", because="it gave up", reason="agent_error", ended_at=timezone.now())
        transcript.close(self.session)
        attempt = Attempt.objects.get(node=self._node("printer"))
        move(attempt, "failed", because="it gave up", reason="agent_error", ended_at=timezone.now())

    def branch_is_set(self) -> None:
        Swarm.objects.filter(pk=self.swarm.pk).update(integration_commit=self.stage.base)
        publish(self.topic, "branch.set", commit=self.stage.base, why="what landed is taken back")

    def leftovers_are_kept(self) -> None:
        live = self.stage.live
        told = {"execution": str(live.pk), "agent": live.agent, "runner": self.stage.runner.name}
        publish(self.topic, "leftovers.kept", **told, commit=self.stage.head, folder="", because="")


class Surroundings:
    """Everything that may happen to the project and the team of the stage."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.alice = stage, user_of("alice", "acme")
        self.imported = self._import("ses_a", "Hello")
        self._import("ses_b", "Bye")
        self.other = Server.objects.create(name="other", url="http://other:4096", last_seen=timezone.now())
        CheckRun.objects.create(swarm=stage.swarm, purpose="landing", commit=stage.head, state="waiting")
        # However long all of it takes, the runner does not fall silent before its time.
        Runner.objects.update(seen_at=timezone.now() + timedelta(hours=1), trusted=True)
        self.clock = Watch()
        self.clock.look()

    def all(self) -> list[Callable[[], object]]:
        return [getattr(self, name) for name in type(self).__dict__ if not name.startswith("_") and name != "all"]

    def _import(self, key: str, *texts: str) -> UUID:
        """A session that happened elsewhere, so far. Returns its id here."""
        project, now = self.stage.project, timezone.now()
        made = uuid5(project.pk, key)
        origin = {"program": "opencode", "key": key}
        past = history.Past(made, project.topic, f"A talk of {len(texts)}", "opencode", now, now, origin)
        message = MessageRecord(id=uuid5(made, "message"), role="assistant", model="large")
        parts = [
            PartRecord(id=uuid5(message.id, text), message=message.id, index=index, kind="text", text=text)
            for index, text in enumerate(texts)
        ]
        history.take(past, [message, *parts])
        return made

    def session_is_imported(self) -> None:
        self._import("ses_a", "Hello", "**Later**")

    def sessions_are_removed(self) -> None:
        history.remove(self.stage.project.topic, "opencode", keys=["ses_b"])

    def project_is_fetched_again(self) -> None:
        project = Project.objects.get(pk=self.stage.project.pk)
        move(project, "fetching", because="a person wants it")
        relay_once()
        move(project, "ready", because="it is here", head=self.stage.head)

    def goal_is_stated(self) -> None:
        elsewhere(
            lambda: goals.state_goal(Project.objects.get(pk=self.stage.project.pk), "Another goal", by=self.alice)
        )

    def breaker_opens(self) -> None:
        publish("team", "breaker.moved", name="provider", before="closed", after="open", because="it answers 500")

    def runner_falls_silent(self) -> None:
        """By itself, in time: no event tells of it, only the clock."""
        Runner.objects.update(seen_at=timezone.now() - timedelta(minutes=1))
        self.clock.look()

    def server_answers(self) -> None:
        Server.objects.filter(pk=self.other.pk).update(latency_ms=4711, last_seen=timezone.now())
        deltas.hint(current_schema(), "server.seen")

    def server_is_disabled_and_removed(self) -> None:
        def go() -> None:
            servers.disable(Server.objects.get(pk=self.stage.server.pk), because="it is not ours")
            servers.remove(Server.objects.get(pk=self.stage.server.pk))

        elsewhere(go)

    def agent_is_drained_and_removed(self) -> None:
        def go() -> None:
            registry.drain(self.stage.agent, because="for today")
            registry.remove(self.stage.agent)

        elsewhere(go)

    def provider_is_added(self) -> None:
        told = {"name": "Mine", "url": "https://models.example/v1", "models": ["large"], "what": "added", "by": "Alice"}
        publish("team", "provider.changed", provider=str(uuid4()), **told)

    def rule_is_made(self) -> None:
        project = self.stage.project
        elsewhere(lambda: toolrules.make(by=self.alice, tool="web", verdict="ask", project=project, why="Who knows."))

    def project_is_changed(self) -> None:
        checks = [Check(name="unit tests", command="python -m unittest -v")]
        elsewhere(lambda: projects.change(self.stage.project, checks=checks, acceptance=[], by=self.alice))

    def exposure_is_declared(self) -> None:
        project = self.stage.project
        elsewhere(lambda: exposure.declare(project, untrusted_input=True, has_secrets=True, by=self.alice))

    def webhook_is_tested_and_changed(self) -> None:
        def change() -> None:
            endpoints.send_test(self.stage.webhook, by=self.alice)
            endpoints.rotate(self.stage.webhook, by=self.alice)
            endpoints.disable(self.stage.webhook, by=self.alice)

        elsewhere(change)

    def project_has_a_budget(self) -> None:
        elsewhere(lambda: budgets.set_limit(self.stage.project.topic, 7_000_000))
