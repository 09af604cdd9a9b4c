"""A swarm with something on every page, for tests of the dashboard."""

from collections.abc import Callable
from datetime import timedelta
from functools import cached_property
from tempfile import TemporaryFile
from typing import Any

from django.utils import timezone

from agents.models import Agent, Budget, ModelCall, ModelPrice, Provider, Server
from sessions.events import publish
from swarms import planned
from swarms.digests import digest
from swarms.models import (
    Approval,
    Archive,
    Attempt,
    Edge,
    Goal,
    Merge,
    Node,
    Plan,
    Project,
    Swarm,
)
from swarms.replay.archives import bring_in
from swarms.replay.export import export
from tenants.models import User
from tests.stage_parts import NASTY, artifact, check_run, execution, plan_document, repository, runner, webhook


class Stage:
    """One project with a running swarm, and one with a proposed plan."""

    def __init__(self, by: User, slug: str = "textkit") -> None:
        self.by = by
        self.project = Project.objects.create(
            slug=slug,
            name=f"Text kit {NASTY}",
            source="/srv/textkit",
            state="ready",
            created_by=by,
            last_number=2,
            checks=[{"name": "unit tests", "command": "python -m unittest", "timeout": 120}],
        )
        self.base, self.head = repository(self.project)
        self.runner = runner()
        self.swarm = self._swarm(1, "running")
        self.proposed = self._swarm(2, "proposed")
        self.plan = self._plan(self.proposed, "proposed")
        self.approval = self._ask(self.proposed, "plan", plan=self.plan)
        self._work()
        Budget.objects.create(subject="team", limit_microusd=5_000_000, reserved_microusd=0, spent_microusd=1_250_000)
        Budget.objects.create(subject=f"swarm:{self.swarm.pk}", limit_microusd=2_000_000, spent_microusd=1_900_000)
        ModelPrice.objects.create(model=slug, input_microusd=150_000, cached_microusd=0, output_microusd=600_000)
        self.artifact = artifact(self.live.session, slug)
        self.webhook = webhook(self.swarm.topic, slug, by)
        seen = {"last_seen": timezone.now(), "fault": NASTY, "because": NASTY}
        self.server = Server.objects.create(name=f"box {NASTY}", url=f"http://{slug}:4096", **seen)
        ended = {"revoked_by": NASTY, "revoked_at": timezone.now(), "set_at": timezone.now()}
        self.provider = Provider.objects.create(
            name=f"house {NASTY}", base_url=f"https://{slug}.example/v1", serves=[NASTY], set_by=NASTY, **ended
        )
        self.agent = Agent.objects.create(name="anna", roles=["writer"], skills=["css"], model=NASTY, because=NASTY)

    def _swarm(self, number: int, state: str) -> Swarm:
        goal = Goal.objects.create(
            project=self.project, number=number, text=f"Add stats {NASTY}\nmore", created_by=self.by
        )
        swarm = Swarm.objects.create(
            project=self.project,
            goal=goal,
            number=number,
            state=state,
            base_commit=self.base,
            integration_commit=self.head,
            because="because of it",
        )
        publish(swarm.topic, "goal.stated", goal=str(goal.pk), number=number, text=goal.text)
        return swarm

    def _plan(self, swarm: Swarm, state: str) -> Plan:
        document = plan_document()
        return Plan.objects.create(
            swarm=swarm,
            version=1,
            state=state,
            source="coordinator",
            document=document,
            digest=digest(document),
            warnings=["'a' and 'b' may run at the same time."],
            faults=[],
            rounds=1,
        )

    def _ask(self, swarm: Swarm, kind: str, **fields: Any) -> Approval:
        plan: Any = fields.get("plan")
        subjects: dict[str, Callable[[], dict[str, Any]]] = {
            "plan": lambda: {"plan": str(plan.pk), "version": 1, "digest": plan.digest, "document": plan.document},
            "node": lambda: {
                "node": "x",
                "key": "docs",
                "title": "Docs",
                "instructions": "Do.",
                "writes": ["docs/**"],
                "checks": [],
            },
            "landing": lambda: {
                "swarm": str(swarm.pk),
                "base": self.base,
                "commit": self.head,
                "branch": "main",
                "reviews": [{"node": "review", "summary": "approve: good"}],
            },
        }
        subject = subjects[kind]()
        return Approval.objects.create(
            swarm=swarm,
            kind=kind,
            title=f"{kind} of {swarm}",
            subject=subject,
            digest=digest(subject),
            requested_by=self.by,
            expires_at=timezone.now() + timedelta(days=7),
            **fields,
        )

    def _work(self) -> None:
        plan = self._plan(self.swarm, "approved")
        made = {}
        for place, given in enumerate(plan_document()["nodes"]):
            made[given["key"]] = Node.objects.create(
                swarm=self.swarm,
                plan=plan,
                key=given["key"],
                title=given["title"],
                role="developer",
                instructions=given["instructions"],
                writes=given["writes"],
                checks=given["checks"],
                risk=given["risk"],
                priority=3 - place,
                attempts_made=2 - place,
                started_at=timezone.now() if place < 2 else None,
            )
            for parent in given["depends_on"]:
                Edge.objects.create(parent=made[parent], child=made[given["key"]])
        ways = {
            "parser": "ready running verifying merging succeeded",
            "printer": "ready running",
            "docs": "awaiting_approval",
        }
        for key, way in ways.items():
            for state in way.split():
                Node.objects.filter(pk=made[key].pk).update(state=state)
        self.nodes = made
        now = timezone.now()
        ended: dict[str, Any] = {"ended_at": now, "state": "done"}
        first = Attempt.objects.create(
            node=made["parser"],
            number=1,
            base_commit=self.base,
            commit=self.head,
            state="failed",
            reason="merge_conflict",
            because="conflicts",
            evidence="```\nboth\n```",
            ended_at=now,
            execution=execution(self.swarm, self.runner, f"node:{made['parser'].pk}", "developer-1", **ended),
        )
        Merge.objects.create(swarm=self.swarm, attempt=first, state="conflicted", conflicts=["parser.py"], ended_at=now)
        second = Attempt.objects.create(
            node=made["parser"],
            number=2,
            base_commit=self.base,
            commit=self.head,
            state="succeeded",
            ended_at=now,
            summary=f"Did it. {NASTY}",
            execution=execution(self.swarm, self.runner, f"node:{made['parser'].pk}", "developer-1", **ended),
        )
        merge = Merge.objects.create(swarm=self.swarm, attempt=second, state="merged", commit=self.head, ended_at=now)
        check_run(self.swarm, "exact", self.head, 0, attempt=second)
        check_run(self.swarm, "merged", self.head, 0, attempt=second, merge=merge)
        check_run(self.swarm, "before", self.base, 1)
        self.live = execution(self.swarm, self.runner, f"node:{made['printer'].pk}", "developer-2", state="running")
        Attempt.objects.create(
            node=made["printer"], number=1, base_commit=self.base, state="running", execution=self.live
        )
        ModelCall.objects.create(
            execution=self.live,
            model="rehearsal",
            rehearsal=True,
            status=200,
            input_tokens=1200,
            output_tokens=300,
            cost_microusd=None,
        )
        self.risky = self._ask(self.swarm, "node", node=made["docs"])
        self._tell()
        self.landing = self._ask(self.swarm, "landing")

    def _tell(self) -> None:
        topic, node = self.swarm.topic, str(self.nodes["parser"].pk)
        planned.tell(self.swarm, self.nodes.values())
        publish(topic, "plan.proposed", plan="x", version=1, source="coordinator", nodes=["parser"], warnings=[])
        publish(topic, "plan.refused", plan="x", version=1, round=1, faults=["no root"])
        publish(topic, "node.moved", id=node, name="parser", before="running", after="ready", because="a conflict")
        publish(topic, "attempt.moved", id=node, name="parser 1", before="running", after="failed", reason="lost")
        publish(topic, "attempt.started", node="parser", attempt=1, agent="developer-1", runner="local", session="x")
        publish(
            topic,
            "checks.finished",
            purpose="exact",
            commit=self.head,
            passed=1,
            total=2,
            node="parser",
            failed=["lint"],
        )
        publish(topic, "merge.conflicted", node="parser", attempt=1, paths=["parser.py"], other=["words"])
        publish(topic, "node.merged", node="parser", commit=self.head)
        publish(topic, "decision.made", by="engine", what="try parser again", why=NASTY, node="parser")
        publish(
            topic,
            "approval.decided",
            approval="x",
            kind="plan",
            title="Plan 1",
            verdict="approved",
            by="Ana",
            automatic=True,
        )
        publish(topic, "swarm.landed", branch="main", commit=self.head, pushed="pushed")
        publish(topic, "swarm.moved", id=node, name="x", before="proposed", after="running", because="go")
        publish(topic, "plan.moved", id=node, name="x", before="drafting", after="invalid", because="faults")
        publish(topic, "approval.asked", approval="x", kind="plan", title="Plan 1")

    @cached_property
    def archive(self) -> Archive:
        """The running swarm, exported and imported again."""
        with TemporaryFile() as file:
            export(self.swarm, file)
            return bring_in(file, by=self.by)

    @property
    def pages(self) -> dict[str, str]:
        """One address for each GET page, by the name of its pattern."""
        swarm, node = "/projects/textkit/swarms/1/", "/projects/textkit/swarms/1/nodes/parser/"
        session = f"/sessions/{self.live.session_id}/"
        return {
            "home": "/",
            "home-now": "/now/",
            "home-lately": "/lately/",
            "projects": "/projects/",
            "project": "/projects/textkit/",
            "project-state": "/projects/textkit/state/",
            "project-rows": "/projects/textkit/rows/",
            "project-sessions": "/projects/textkit/sessions/",
            "swarm": swarm,
            "swarm-region": f"{swarm}regions/nodes/",
            "swarm-turn": f"{swarm}turn/",
            "swarm-feed": f"{swarm}feed/?after=0",
            "plan-yaml": f"{swarm}plan.yaml",
            "node": node,
            "node-state": f"{node}state/?attempt=1",
            "node-aside": f"{node}aside/?attempt=1",
            "budgets": "/budgets/",
            "project-budget": "/projects/textkit/budget/",
            "swarm-budget": f"{swarm}budget/",
            "node-budget": f"{node}budget/",
            "swarm-replay": f"{swarm}replay/?at=3",
            "swarm-replay-now": f"{swarm}replay/now/?at=12",
            "swarm-replay-times": f"{swarm}replay/times/?after=3",
            "swarm-replay-yaml": f"{swarm}replay/plan.yaml?at=12",
            "archives": "/archives/",
            "archive": f"/archives/{self.archive.pk}/?at=12",
            "archive-now": f"/archives/{self.archive.pk}/now/?at=12",
            "archive-times": f"/archives/{self.archive.pk}/times/?after=3",
            "archive-yaml": f"/archives/{self.archive.pk}/plan.yaml?at=12",
            "archive-node": f"/archives/{self.archive.pk}/nodes/parser/",
            "team-delete": "/settings/delete/",
            "rules": "/settings/rules/?tool=shell&role=developer&arguments=command%3A+ls",
            "project-rules": "/projects/textkit/rules/",
            "webhooks": "/settings/webhooks/",
            "webhook": f"/settings/webhooks/{self.webhook.pk}/",
            "swarms": "/swarms/?state=live&project=textkit",
            "approvals": "/approvals/",
            "decisions": "/decisions/?who=engine&project=textkit",
            "approval": f"/approvals/{self.approval.pk}/",
            "agents": "/agents/",
            "agents-now": "/agents/now/",
            "agent": f"/agents/{self.agent.name}/",
            "agent-new": "/agents/new/?role=developer",
            "providers": "/settings/providers/",
            "runners": "/runners/",
            "servers": "/servers/",
            "servers-now": "/servers/now/",
            "server": f"/servers/{self.server.pk}/",
            "session": session,
            "session-parts": f"{session}parts/",
            "session-figures": f"{session}figures/",
            "session-words": f"{session}words/",
        }
