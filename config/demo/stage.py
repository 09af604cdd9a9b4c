"""What a run needs before its goal: a team, people, a repository, a project. Safe to call again."""

import time
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from agents.contracts import Check
from config.demo.options import Options
from config.services.prepare import DEMO_TEAM
from swarms import goals, projects, sample
from swarms.models import Project, Swarm
from swarms.states import ProjectState
from swarms.workspace.git import GitError, git
from tenants.context import PUBLIC, in_schema
from tenants.members import add_member
from tenants.models import Domain, Membership, Team, User
from tenants.roles import Role
from tenants.signin import link_for
from tenants.signup import make_team

TEAM_NAME, TEAM_SLUG, OWNER_MAIL = DEMO_TEAM
SLUGS = (TEAM_SLUG, f"{TEAM_SLUG}-demo")
"""The second one is for platforms where somebody else has signed up as the first."""
APPROVER_MAIL = "scripted-approver@acme.example"
APPROVER_NAME = "scripted approver"
FETCH_SECONDS = 120.0


class CannotBegin(Exception):
    """The run cannot start; the message says why and what to do."""


@dataclass(frozen=True)
class Cast:
    """The team of the demo and its two members."""

    team: Team
    owner: User
    approver: User

    def signin_link(self) -> str:
        """An address that signs the owner in once."""
        with in_schema(PUBLIC):
            return link_for(self.owner, self.team)


@dataclass(frozen=True)
class Job:
    """What is asked for, of which repository."""

    name: str
    source: str
    branch: str
    goal: str
    checks: tuple[Check, ...]
    acceptance: tuple[Check, ...]
    is_sample: bool


def cast() -> Cast:
    """The team Acme with its owner and its automatic approver, made on the first run."""
    with in_schema(PUBLIC):
        owner = _user(OWNER_MAIL, "Demo owner")
        approver = _user(APPROVER_MAIL, APPROVER_NAME)
        slug = next((slug for slug in SLUGS if _is_ours(slug, owner)), None)
        if slug is None:
            raise CannotBegin(f"The addresses {' and '.join(SLUGS)} belong to other teams; `make reset` frees them.")
        team = make_team(name=TEAM_NAME, slug=slug, owner=owner)
        add_member(team, approver, Role.APPROVER, automatic=True)
    return Cast(team, owner, approver)


def _user(email: str, name: str) -> User:
    return User.objects.filter(email=email).first() or User.objects.create_user(email, None, name=name)


def _is_ours(slug: str, owner: User) -> bool:
    domain = Domain.objects.filter(slug=slug).first()
    return domain is None or Membership.objects.filter(team=domain.tenant_id, user=owner).exists()


def job(options: Options) -> Job:
    """The repository and the goal: the given ones, or a fresh copy of the sample. Raises CannotBegin."""
    if not options.repo:
        built = sample.build(_free_sample())
        acceptance = () if options.goal else sample.ACCEPTANCE
        goal = options.goal or sample.GOAL
        checks = (*sample.CHECKS, *options.checks)
        return Job(sample.PROJECT_NAME, str(built.path), built.branch, goal, checks, acceptance, is_sample=True)
    if not options.goal:
        raise CannotBegin('Say what you want of the repository: --goal "…", or make demo GOAL="…" REPO=….')
    name = Path(options.repo.rstrip("/")).name.removesuffix(".git") or "project"
    return Job(
        name,
        options.repo,
        options.branch or _usual_branch(options.repo),
        options.goal,
        options.checks,
        (),
        is_sample=False,
    )


def _usual_branch(source: str) -> str:
    """The branch that a clone of the source begins with. Raises CannotBegin when nobody can read the source."""
    try:
        told = git(None, "ls-remote", "--symref", "--", source, "HEAD").stdout
    except GitError as error:
        raise CannotBegin(f"The repository {source} cannot be read: {error}") from error
    name = told.partition("refs/heads/")[2].partition("\t")[0]
    if not name:
        raise CannotBegin(f"The repository {source} names no usual branch. Name one with --branch, for example main.")
    return name


def _free_sample() -> Path:
    folder = Path(settings.DATA_DIR) / "sample"
    number = 1
    while (folder / f"{number}.git").exists():
        number += 1
    return folder / f"{number}.git"


def project_for(job: Job, *, by: User) -> Project:
    """A project of its own for this run, with its repository copied. Raises CannotBegin, ValidationError."""
    slug = _free_slug(job.name)
    project = projects.add_project(
        name=slug,
        slug=slug,
        source=job.source,
        target_branch=job.branch,
        checks=job.checks,
        acceptance=job.acceptance,
        by=by,
    )
    deadline = time.monotonic() + FETCH_SECONDS
    while project.state == ProjectState.FETCHING:
        if time.monotonic() > deadline:
            raise CannotBegin(f"The repository {job.source} was not copied within {FETCH_SECONDS:.0f} s.")
        time.sleep(0.1)
        project.refresh_from_db()
    if project.state != ProjectState.READY:
        raise CannotBegin(project.because)
    return project


def _free_slug(name: str) -> str:
    plain = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in name.lower()).strip("-")
    base = plain[:30].strip("-") or "project"
    taken = set(Project.objects.filter(slug__startswith=base).values_list("slug", flat=True))
    number, slug = 1, base
    while slug in taken:
        number += 1
        slug = f"{base}-{number}"
    return slug


def state(project: Project, goal: str, *, by: User) -> Swarm:
    """State the goal. Raises ValidationError."""
    return goals.state_goal(project, goal, by=by)
