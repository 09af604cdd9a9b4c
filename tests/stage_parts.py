"""Rows for the stage of the dashboard's tests: a plan, a repository, a runner, a transcript, checks."""

import subprocess
import uuid
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

from django.utils import timezone

from agents.contracts.records import MessageRecord, PartRecord, Usage
from agents.models import Execution
from sessions import transcript
from sessions.artifacts.keeping import keep
from sessions.events import publish
from sessions.models import Artifact, Backlog, Delivery, Letter, Session, Webhook
from swarms.models import (
    CheckRun,
    Project,
    Swarm,
)
from swarms.workspace import repos
from tenants import turns
from tenants.models import Runner, Token, User
from tenants.secrets import seal

NASTY = '<script>alert(1)</script> & "quotes"'


def plan_document() -> dict[str, Any]:
    """A PlanProposal of three nodes."""

    def node(key: str, *after: str, risk: str = "low") -> dict[str, Any]:
        return {
            "key": key,
            "title": f"Write the {key}",
            "role": "developer",
            "instructions": f"Do {key}.",
            "depends_on": list(after),
            "writes": [f"{key}/**"],
            "checks": [{"name": "unit tests", "command": "python -m unittest", "timeout": 60}],
            "risk": risk,
        }

    return {
        "summary": "First the parser, then the rest.",
        "acceptance": [],
        "nodes": [node("parser"), node("printer", "parser"), node("docs", "parser", "printer", risk="high")],
    }


def repository(project: Project) -> tuple[str, str]:
    """A real repository of the project with two commits; returns both."""
    path = Path(repos.path_of(project.pk))
    path.mkdir(parents=True, exist_ok=True)

    def git(*words: str, given: str | None = None) -> str:
        return subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@t.invalid", *words],
            cwd=path,
            input=given,
            text=True,
            check=True,
            capture_output=True,
        ).stdout.strip()

    git("init", "-q", "--bare")
    commits: list[str] = []
    for text in ("def parse(x):\n    return x\n", 'def parse(x):\n    """Parse."""\n    return x.strip()  # <b>\n'):
        blob = git("hash-object", "-w", "--stdin", given=text)
        tree = git("mktree", given=f"100644 blob {blob}\tparser.py\n")
        commits.append(git("commit-tree", tree, "-m", "work", *(["-p", commits[-1]] if commits else [])))
    git("update-ref", "refs/heads/main", commits[0])
    return commits[0], commits[1]


def runner() -> Runner:
    """A connected platform runner."""
    token = Token.objects.create(kind="runner", hash=uuid.uuid4().hex)
    return Runner.objects.create(
        name=f"local-{uuid.uuid4().hex[:6]}",
        token=token,
        capacity=4,
        sandbox="bubblewrap",
        version="0.1.0",
        channel="specific.x",
        seen_at=timezone.now(),
    )


def execution(swarm: Swarm, on: Runner, subject: str, agent: str, kind: str = "work", **fields: Any) -> Execution:
    """An execution with a transcript of every kind of part."""
    session = Session.objects.create(
        subject=swarm.topic, title=f"{agent} at work", agent=agent, doing="reads parser.py"
    )
    message, briefing = uuid.uuid4(), uuid.uuid4()

    def part(index: int, kind: str, **values: Any) -> PartRecord:
        return PartRecord(id=uuid.uuid4(), message=message, index=index, kind=kind, **values)

    transcript.record(
        session,
        [
            MessageRecord(id=briefing, role="user"),
            PartRecord(id=uuid.uuid4(), message=briefing, index=0, kind="text", text="# Briefing\nDo it."),
            MessageRecord(id=message, role="assistant", model="rehearsal"),
            part(0, "reasoning", text="I should *read* first."),
            part(1, "tool", tool="read_file", input={"path": "parser.py"}, output=NASTY),
            part(2, "text", text=f"Done. {NASTY} [link](javascript:alert(1))"),
            part(3, "patch", text="parser.py", output="+x"),
            part(4, "error", text="a complaint"),
            part(5, "step", usage=Usage(input_tokens=1200, output_tokens=300)),
            part(6, "text", state="open", text="writing"),
        ],
    )
    return Execution.objects.create(
        kind=kind,
        subject=subject,
        swarm=swarm.pk,
        runner=on,
        session=session,
        agent=agent,
        assignment={"briefing": f"# Briefing\n{NASTY}"},
        lease_until=timezone.now() + timedelta(seconds=30),
        **fields,
    )


def check_run(swarm: Swarm, purpose: str, commit: str, code: int, **fields: Any) -> CheckRun:
    """A finished check run of one check."""
    result = {
        "name": "unit tests",
        "command": "python -m unittest",
        "commit": commit,
        "exit_code": code,
        "seconds": 1.5,
        "output": f"Ran 3 tests {NASTY}",
        "truncated": True,
        "passed": 2,
        "failed": code,
    }
    return CheckRun.objects.create(
        swarm=swarm,
        purpose=purpose,
        commit=commit,
        results=[result],
        state="failed" if code else "passed",
        ended_at=timezone.now(),
        **fields,
    )


def artifact(session: Session, slug: str) -> Artifact:
    """A file that an agent left beside its commit."""
    name = f"out/{NASTY} of {slug}.txt"
    return keep(session, BytesIO(f"Report of {slug} {NASTY}".encode()), name=name, media_type="text/plain")


def webhook(subject: str, slug: str, by: User) -> Webhook:
    """A webhook that has tried something, has something waiting and something dead."""
    made = Webhook(name=f"Hook of {slug} {NASTY}", url=f"https://{slug}.example/hook", position=0, created_by=by)
    made.secret = seal("whsec_c2VjcmV0", made, "secret")
    made.failures, made.failing_since = 1, timezone.now()
    made.save(force_insert=True)
    turns.due("webhook", made.pk, after=timedelta(hours=1))
    event = publish(subject, "decision.made", by="engine", what=f"try {NASTY}", why="because")
    Backlog.objects.create(webhook=made, subject=subject, seq=0, attempts=1, because=NASTY, due_at=timezone.now())
    Letter.objects.create(webhook=made, event=event, attempts=10, because=NASTY)
    for status, is_good in ((200, True), (500, False)):
        Delivery.objects.create(
            webhook=made, event=event, attempt=1, is_good=is_good, status=status, excerpt=NASTY, seconds=0.1
        )
    return made
