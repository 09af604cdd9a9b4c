"""Where the machine of rules lives: a project with a small repository, and agents' commits without work trees."""

import subprocess
from pathlib import Path
from typing import Any
from uuid import UUID

from agents.contracts import Assignment, Check, PlanProposal
from swarms import engine, planner, projects
from swarms.models import Goal, Plan, Project, Swarm
from swarms.workspace import repos
from swarms.workspace.git import environment
from tenants.models import User

CHECK = Check(name="right", command="true")
_COMMIT = """\
commit refs/heads/{branch}
mark :1
committer machine <machine@waggle.invalid> 1700000000 +0000
data 4
work
{parent}M 100644 inline {path}
data {size}
{text}
get-mark :1
"""


def _import(repository: Path, **words: object) -> str:
    done = subprocess.run(
        ["git", "fast-import", "--quiet", "--force", "--cat-blob-fd=1"],
        cwd=repository,
        env=environment(),
        input=_COMMIT.format(size=len(str(words["text"])), **words),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def make_project(folder: Path, by: User) -> Project:
    """A project whose source is a bare repository with one commit, copied already."""
    source = folder / "source.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(source)], env=environment(), check=True)
    _import(source, branch="main", parent="", path="list.txt", text="begin")
    made = projects.add_project(
        name="Machine", slug="machine", source=str(source), checks=[CHECK], approve_plan=False, by=by
    )
    projects.fetch(made.pk)
    made.refresh_from_db()
    return made


def adopted(project: Project, plan: PlanProposal) -> Swarm:
    """A swarm that follows this plan, from its project's head."""
    number = Goal.objects.filter(project=project).count() + 1
    goal = Goal.objects.create(project=project, number=number, text="anything", created_by=project.created_by)
    commits: dict[str, Any] = {"base_commit": project.head, "integration_commit": project.head}
    swarm = Swarm.objects.create(project=project, goal=goal, number=number, **commits)
    version = Plan.objects.create(swarm=swarm, version=1, source="yaml", created_by=project.created_by)
    planner.propose(version, plan)
    engine.advance(swarm.pk)
    swarm.refresh_from_db()
    return swarm


def commit(one: Assignment, path: str) -> str:
    """The agent of this assignment writes a file and pushes its branch. Returns the commit."""
    assert one.repository is not None
    bare = repos.path_of(UUID(one.repository.url.rsplit("/", 1)[1].removesuffix(".git")))
    text = f"{one.title} {one.execution}"
    return _import(bare, branch=one.repository.branch, parent=f"from {one.repository.commit}\n", path=path, text=text)


def forget(project: Project) -> None:
    """Both target branches as they were before anything landed."""
    for repository in (Path(project.source), repos.path_of(project.pk)):
        words = ["git", "update-ref", "refs/heads/main", project.head]
        subprocess.run(words, cwd=repository, env=environment(), check=True)
