"""Hostile text wherever a person, an agent or a repository can put some, in a real browser: nothing of it acts."""

import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

import tests.board_stage as board_stage
import tests.stage_parts as stage_parts
from sessions import deltas
from sessions.events import publish
from sessions.models import Message, Part, Session
from sessions.relay import relay_once
from swarms.digests import digest
from swarms.models import Approval, Attempt, CheckRun, Goal, Node, Plan, Project, Swarm
from swarms.workspace import repos
from swarms.workspace.git import environment
from tenants.context import current_schema
from tenants.models import Team, User
from tests.board_stage import Stage
from tests.broken import sql
from tests.conftest import user_of
from tests.test_browser import CHROMIUM, Visit, browser, live, visit, web  # noqa: F401

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.timeout(300),
]
SHORT = "<img src=x onerror=pwned=1>"
LONG = (
    f"{SHORT}<script>pwned=1</script><svg/onload=pwned=1>\"'><a href='javascript:pwned=1' onclick=pwned=1>l</a>"
    "</textarea></title></style></script><iframe srcdoc='<script>parent.pwned=1</script>'></iframe>"
    "<div hx-get=/team/ hx-trigger=load hx-on:load=pwned=1 style=color:red>{{ 7|add:7 }}{% csrf_token %}"
    "\n\n[k](javascript:pwned=1) [d](data:text/html,<script>pwned=1</script>) ![i](x) <javascript:pwned=1>"
    '\n\n[r]\n\n[r]: javascript:pwned=1 "onclick=pwned=1"\n\n```html\' onclick=pwned=1\n</code></pre><img src=x>\n```'
)
ACTS = (
    "img[src=x], iframe, [onerror], [onload], [onclick], [srcdoc], [hx-on\\\\:load], [style*=red],"
    " a[href^='javascript:'], a[href^='data:']"
)


def hostile_commit(project: Project, parent: str) -> str:
    """A commit whose file names and content are hostile."""

    def git(*words: str, given: bytes = b"") -> str:
        place = repos.path_of(project.pk)
        return (
            subprocess.run(["git", *words], cwd=place, env=environment(), input=given, capture_output=True, check=True)
            .stdout.decode()
            .strip()
        )

    blob = git("hash-object", "-w", "--stdin", given=f"{LONG}\n\x0c\u2028x\r\n".encode())
    names = [SHORT, f'q"{SHORT}', "a\tb\n<b>", "x.html", "ключ.py", "__proto__"]
    rows = "".join(f"100644 blob {blob}\t{name}\0" for name in names)
    tree = git("mktree", "-z", given=rows.encode())
    return git("commit-tree", tree, "-p", parent, "-m", f"{SHORT} {LONG}")


@pytest.fixture
def stage(committed_team: Team, monkeypatch: pytest.MonkeyPatch) -> Any:
    for module in (board_stage, stage_parts):
        monkeypatch.setattr(module, "NASTY", SHORT)
    alice = user_of("alice", "acme")
    User.objects.filter(pk=alice.pk).update(name=f"A {SHORT}")
    made = Stage(alice)
    head = hostile_commit(made.project, made.base)
    Project.objects.update(source=f"/srv/{SHORT}", target_branch=f"b{SHORT}", because=LONG)
    Goal.objects.update(text=LONG)
    Swarm.objects.update(because=LONG, integration_commit=head)
    live = Node.objects.exclude(state="succeeded")
    live.update(title=SHORT, instructions=LONG, because=LONG, summary=LONG, writes=[SHORT])
    Attempt.objects.filter(ended_at=None).update(because=LONG, evidence=LONG, summary=LONG, commit=head)
    Session.objects.update(title=SHORT, agent=SHORT, doing=SHORT)
    Message.objects.update(model=SHORT)
    Part.objects.update(tool=SHORT, output=LONG, input={"path": SHORT, SHORT: LONG})
    Part.objects.exclude(state="open").update(text=LONG)
    CheckRun.objects.filter(ended_at=None).update(because=LONG)
    document = stage_parts.plan_document()
    for node in document["nodes"]:
        node |= {"title": SHORT, "instructions": LONG, "writes": [SHORT], "role": SHORT}
        node["checks"] = [{"name": SHORT, "command": LONG, "timeout": 60}]
    document["summary"] = LONG
    plan = Plan.objects.get(pk=made.plan.pk)
    Plan.objects.filter(pk=plan.pk).update(
        document=document, because=LONG, warnings=[LONG], faults=[LONG], digest=digest(document)
    )
    sql("ALTER TABLE swarms_approval DISABLE TRIGGER USER")  # what was asked is frozen
    for approval in Approval.objects.all():
        subject = approval.subject | {"title": SHORT, "instructions": LONG, "branch": SHORT, "commit": head}
        subject |= {"document": document, "reviews": [{"node": SHORT, "summary": LONG}]}
        Approval.objects.filter(pk=approval.pk).update(title=SHORT, subject=subject, digest=digest(subject))
    sql("ALTER TABLE swarms_approval ENABLE TRIGGER USER")
    relay_once()
    yield made
    User.objects.filter(pk=alice.pk).update(name="Alice")


def harmless(page: Page, where: str) -> None:
    assert page.evaluate("window.pwned") is None, where
    assert page.evaluate(f'document.querySelectorAll("{ACTS}").length') == 0, where
    assert page.evaluate("window.complaints") == [], where


def test_hostile_text_is_text_on_every_page(stage: Stage, visit: Visit, subtests: pytest.Subtests) -> None:  # noqa: F811
    page = visit("/")
    origin = "/".join(page.url.split("/", 3)[:3])
    printer = "/projects/textkit/swarms/1/nodes/printer/"
    paths = [path for name, path in stage.pages.items() if "yaml" not in name]
    paths += [
        "/projects/textkit/swarms/2/",
        printer,
        f"/approvals/{stage.landing.pk}/",
        f"/approvals/{stage.risky.pk}/",
    ]
    paths += ["/team/", "/settings/", "/admin/"]
    paths += [
        f"/projects/textkit/swarms/1/regions/{name}/" for name in ("header", "asks", "graph", "now", "plan", "checks")
    ]
    models: dict[str, Callable[[], Any]] = {
        "approval": lambda: stage.landing.pk, "project": lambda: stage.project.pk, "goal": lambda: stage.swarm.goal_id,
        "swarm": lambda: stage.swarm.pk, "plan": lambda: stage.plan.pk, "node": lambda: stage.nodes["printer"].pk,
    }  # fmt: skip
    for name, key in models.items():
        paths += [f"/admin/swarms/{name}/", f"/admin/swarms/{name}/{key()}/change/"]
    seen = 0
    for path in paths:
        with subtests.test(path):
            answer = page.goto(origin + path)
            assert answer is not None
            assert answer.status == 200
            seen += SHORT in (page.text_content("body") or "")
            harmless(page, path)
    assert seen > 20, "hostile text must be seen to be proved harmless"


def test_hostile_text_is_text_when_it_comes_live(stage: Stage, visit: Visit) -> None:  # noqa: F811
    page = live(visit("/projects/textkit/swarms/1/"))
    publish(stage.swarm.topic, "decision.made", by="engine", what=SHORT, why=LONG, node=SHORT)
    relay_once()
    expect(page.locator(".feed li").first).to_contain_text(SHORT, timeout=30_000)
    harmless(page, "feed")
    session = stage.live.session
    page = live(visit(f"/sessions/{session.pk}/"))
    part = Part.objects.get(message__session=session, state="open")
    deltas.push(current_schema(), session.pk, [deltas.Piece(part.pk, len(part.text), LONG)])
    expect(page.locator(f"[data-part='{part.pk}']")).to_contain_text(SHORT, timeout=30_000)
    harmless(page, "transcript")
