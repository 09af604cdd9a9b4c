"""Begin anew from an event of a swarm: its merged work is kept, the rest of its plan may be changed."""

from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.db import transaction

from sessions.events import acting
from swarms import goals, planner
from swarms.goals import Origin
from swarms.models import Swarm
from swarms.plan_yaml import annotated
from swarms.refusals import NotNow
from swarms.replay import stories
from swarms.replay.carry import Rest, rest
from swarms.replay.checkpoints import scene_at
from swarms.replay.scene import Scene
from swarms.workspace import repos
from tenants.models import User


@dataclass(frozen=True)
class Proposal:
    """What a fork begins with, to be changed by a person."""

    at: int
    scene: Scene
    rest: Rest
    goal: str

    @property
    def yaml(self) -> str:
        """The rest of the plan, with a comment where something is to be known."""
        return annotated(self.rest.plan, self.rest.notes)


def proposal(swarm: Swarm, at: int) -> Proposal:
    """What would be forked at an event. Raises ValidationError (no such event) or NotNow (nothing to begin from)."""
    story = stories.of_swarm(swarm)
    if not 1 <= at <= story.last():
        raise ValidationError({"at": f"{swarm} has the events 1 to {story.last()}; there is no event {at}."})
    scene = scene_at(story, at)
    if scene.is_taken_back:
        raise NotNow("At that event its work was being taken back. Choose an event before the rollback.")
    left = rest(scene, story.document)
    if left is None:
        raise NotNow("At that event there was no plan yet. Choose a later one, or state the goal again.")
    text = f"Fork of #{swarm.number} at event {at}: {swarm.goal.title}\n\n{swarm.goal.text.strip()}"
    return Proposal(at, scene, left, text[: goals.MAX_GOAL])


def fork(swarm: Swarm, at: int, *, plan: str, goal: str = "", by: User) -> Swarm:
    """A new goal that goes on from what was merged at an event, with this plan as YAML (empty: the rest of the plan).

    From then on it is like any other: validated, approved, carried out. Raises ValidationError, PlanFaults or NotNow.
    """
    found = proposal(swarm, at)
    if not repos.commit_of(swarm.project_id, found.scene.branch):
        raise NotNow(f"The repository does not have {found.scene.branch[:10]} any more, where its branch was then.")
    # What has landed is no news any more; else whoever approves the landing must see what was merged before, too.
    base = found.scene.branch if found.scene.landed else swarm.base_commit
    origin = Origin(swarm, at, base=base, commit=found.scene.branch)
    with transaction.atomic(), acting(f"user:{by.pk}"):
        made = goals.begin(swarm.project, goal.strip() or found.goal, by=by, origin=origin)
        planner.give(made, plan if plan.strip() else found.yaml, by=by)
        # The commit stays, whatever becomes of the branch that it was on.
        transaction.on_commit(
            lambda: repos.set_ref(made.project_id, f"refs/heads/{made.branch}", made.integration_commit)
        )
    return made
