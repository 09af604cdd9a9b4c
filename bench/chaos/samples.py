"""Swarms of the sample goal: agents on real runners, git, checks, merges; and a person who says yes."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from django.db import DatabaseError, connection

from agents.models import Execution
from agents.states import LIVE
from bench.chaos import victims
from bench.chaos.platform import RUNNERS, Platform
from bench.stage import wait_for
from swarms import approvals, goals, operations, projects, sample
from swarms.models import Approval, Attempt, Project, Swarm
from swarms.states import SWARM_ENDED
from swarms.workspace.git import git
from tenants import programs, runners
from tenants.context import PUBLIC, in_schema
from tenants.models import Membership, Team, User

LOOK_SECONDS = 0.3
MOST_RETRIES = 2


class Samples:
    """A team that states the sample's goal, each time for a repository of its own."""

    def __init__(self, of: Platform, team: Team) -> None:
        self.team, self.swarms = team, list[UUID]()
        self.retried = Counter[UUID]()
        """How often a person tried each swarm again: where a node was lost three times in a row, somebody must."""
        self.slug, self.writing = team.slug, "writing"
        self._folder = Path(of.at.folder)
        with in_schema(PUBLIC):
            self.owner = User.objects.get(memberships__team=team)
            of.tokens |= {name: runners.register(name) for name in RUNNERS}
            member = Membership.objects.get(team=team, user=self.owner)
            self.secret = programs.issue(member, name="chaos", days=1)[1]
        self._over = threading.Event()
        threading.Thread(target=self._decide, name="person", daemon=True).start()

    def begin(self) -> UUID:
        """State the goal once more."""
        with in_schema(self.team.schema_name):
            project = self.project(f"sample-{len(self.swarms)}")
            self.swarms.append(goals.state_goal(project, sample.GOAL, by=self.owner).pk)
        return self.swarms[-1]

    def project(self, slug: str) -> Project:
        """A project with a fresh copy of the sample. In the team's schema."""
        built = sample.build(self._folder / slug)
        made = projects.add_project(
            name=slug,
            slug=slug,
            source=str(built.path),
            target_branch=built.branch,
            checks=sample.CHECKS,
            acceptance=sample.ACCEPTANCE,
            by=self.owner,
        )
        wait_for(Project.objects.filter(pk=made.pk, state="ready").exists, "the sample is not copied")
        made.refresh_from_db()
        return made

    def prepare(self) -> None:
        """The project that programs write to."""
        with in_schema(self.team.schema_name):
            self.project(self.writing)

    def live(self) -> int:
        """How many of the swarms have not ended, or are about to be tried again."""
        with in_schema(self.team.schema_name):
            found = Swarm.objects.filter(pk__in=self.swarms)
            return found.exclude(state__in=SWARM_ENDED).count() + len(self._poisoned())

    def _poisoned(self) -> list[Swarm]:
        failed = Swarm.objects.filter(pk__in=self.swarms, state="failed", because__contains="poison")
        return [swarm for swarm in failed if self.retried[swarm.pk] < MOST_RETRIES]

    def at_work(self, *on: str, seconds: float = 60) -> tuple[UUID, ...]:
        """What goes on on these runners, as soon as there is something; states the goal when nothing is under way."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self.live():
                self.begin()
            if found := victims.executions(self.team, *on):
                return found
            time.sleep(0.02)
        return ()

    def attempts_of(self, executions: tuple[UUID, ...]) -> list[UUID]:
        """The attempts of nodes among these executions."""
        with in_schema(self.team.schema_name):
            return list(Attempt.objects.filter(execution__in=executions).values_list("pk", flat=True))

    def live_of(self, executions: tuple[UUID, ...]) -> int:
        """How many of these executions go on, by the control plane's books."""
        with in_schema(self.team.schema_name):
            return Execution.objects.filter(pk__in=executions, state__in=LIVE).count()

    def unlanded(self) -> Iterator[str]:
        """Swarms that did not land, or whose landing is not what is in the source, in words."""
        with in_schema(self.team.schema_name):
            for swarm in Swarm.objects.filter(pk__in=self.swarms).select_related("project"):
                if swarm.state != "succeeded":
                    yield f"{swarm} is {swarm.state}: {swarm.because}"
                elif (
                    head := git(Path(swarm.project.source), "rev-parse", "main").stdout.strip()
                ) != swarm.landed_commit:
                    yield f"{swarm} landed {swarm.landed_commit}, and its source is at {head}"

    def settle(self, *, seconds: float) -> None:
        """Wait until all have ended, or for so long."""
        try:
            wait_for(lambda: not self.live(), "the sample's swarms do not end", seconds=seconds)
        except TimeoutError as error:
            print(error, flush=True)

    def close(self) -> None:
        """Approve nothing any more."""
        self._over.set()

    def _decide(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            try:
                with in_schema(self.team.schema_name):
                    for gate in Approval.objects.filter(state="pending", swarm__in=self.swarms):
                        approvals.approve(gate, by=self.owner)
                    for swarm in self._poisoned():
                        operations.retry_swarm(swarm, by=self.owner)
                        self.retried[swarm.pk] += 1
            except (DatabaseError, approvals.NotDecidable, operations.NotNow):
                connection.close()  # the database is away, or something changed: the next look sees what is true
