"""Named answers: what a plan asks, what agents must give, and which branches run because of it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.template.loader import render_to_string
from django.test import Client

from agents import executions
from agents.contracts import AnswerAsked, Assignment, Given, Outcome, ReviewOutcome, WorkOutcome
from agents.contracts.answers import read
from agents.contracts.plan import EdgeCondition
from sessions.models import Event
from swarms import board, replan
from swarms.models import Attempt, Node, Project
from swarms.replay.shown import facts
from swarms.replay.stories import of_swarm
from tenants.models import Team
from tests.conftest import user_of
from tests.hands import Hands
from tests.replan_stage import begin, make_project, milestone, node, plan, states, text, writes, wrong
from tests.test_api_swarms import Program, secret_of

ASKED = (
    AnswerAsked(name="needs_docs", asks="Does it need documentation?"),
    AnswerAsked(name="places", kind="number", asks="How many places call it?"),
    AnswerAsked(name="copy", kind="word", words=("core", "cli"), asks="Which part is it in?"),
)
GOOD: dict[str, Given] = {"needs_docs": False, "places": 12.0, "copy": "cli"}
KEPT = {"needs_docs": "no", "places": 12, "copy": "cli"}


def only(parent: str, field: str, **words: Any) -> dict[str, Any]:
    """A node's fields by which it waits for what its parent says."""
    return {"when": (EdgeCondition(parent=parent, field=field, **words),)}


PLAN = plan(
    node("look", answers=ASKED),
    node("docs", "look", **only("look", "needs_docs", values=("yes",))),
    milestone("after-docs", "docs"),
    milestone("split", "look", **only("look", "places", at_least=10, at_most=12)),
    milestone("whole", "look", **only("look", "places", at_least=10, negate=True)),
    node("judge", "look", role="reviewer", writes=(), answers=ASKED[:1], **only("look", "copy", values=("cli",))),
    milestone("sure", "judge", **only("judge", "needs_docs", values=("yes",), negate=True)),
    milestone("end", "docs", "split", "whole", "sure", fan_in="all_done"),
)


class Answering(Hands):
    """Hands whose agents answer, by the role of their node, one after the other; then as the last time."""

    def __init__(self, team: Team, *given: dict[str, Given]) -> None:
        super().__init__(team, plan(node("unused")), writes, by=user_of("alice", "acme"))
        self.given = list(given)
        self.refused: list[str] = []
        self.briefings: dict[str, str] = {}

    def outcome(self, assignment: Assignment) -> Outcome:
        made = super().outcome(assignment)
        if not isinstance(made, WorkOutcome | ReviewOutcome):
            return made
        self.briefings[assignment.briefing.split("`")[1]] = assignment.briefing
        return self.answered(assignment, made)

    def answered(self, assignment: Assignment, made: WorkOutcome | ReviewOutcome) -> Outcome:
        """The outcome with what its agent answers of all that it is asked."""
        names = {one.name for one in assignment.answers}
        given = self.given.pop(0) if len(self.given) > 1 else self.given[0]
        return made.model_copy(update={"answers": {name: one for name, one in given.items() if name in names}})

    def carry_out(self, assignment: Assignment) -> list[str]:
        assert executions.accept(assignment.execution, assignment.fence) == "continue"
        made = self.outcome(assignment)
        while faults := executions.settle(assignment.execution, assignment.fence, made):
            self.refused += faults
            assert isinstance(made, WorkOutcome)
            made = self.answered(assignment, made)
        return []


@pytest.fixture
def project(team: Team, settings: Any, tmp_path: Path, broker: object) -> Iterator[Project]:
    yield make_project(tmp_path, settings, approve_plan=False, approve_landing=False)
    assert wrong(team) == []


def test_answers_decide_which_branches_run(project: Project, team: Team, client_for: Callable[..., Client]) -> None:
    hands = Answering(team, {}, GOOD | {"copy": "shell", "places": True}, GOOD)
    swarm = begin(project, hands, PLAN)
    hands.run(swarm)
    assert swarm.state == "succeeded", swarm.because
    gone = {"docs": "skipped", "after-docs": "skipped", "whole": "skipped"}
    assert states(swarm) == dict.fromkeys(sorted(node.key for node in PLAN.nodes), "succeeded") | gone

    # What was missing or wrong was told to the agent while it worked: no attempt was spent on it.
    assert hands.refused == [
        *(f"answers.{name}: Field required" for name in KEPT),
        *("answers.places: Input should be a valid number", "answers.copy: Input should be 'core' or 'cli'"),
    ]
    assert Attempt.objects.filter(node__key="look").count() == 1
    look = Node.objects.get(swarm=swarm, key="look")
    assert {name: look.output[name] for name in KEPT} == KEPT
    assert "summary" in look.output
    assert [one.payload for one in Event.objects.filter(kind="node.answered").order_by("seq")] == [
        {"node": "look", "answers": KEPT},
        {"node": "judge", "answers": {"needs_docs": "no"}},
    ]
    assert "- `copy` (core or cli): Which part is it in?" in hands.briefings["look"]
    assert "needs_docs: no · places: 12 · copy: cli" in hands.briefings["judge"]

    # People, programs and replay are told.
    page = client_for(user_of("alice", "acme"), team).get(f"/projects/files/swarms/{swarm.number}/nodes/look/")
    for words in ("<code>places</code> <b>12</b>", "<code>copy</code> (core or cli): Which part is it in?"):
        assert words in page.content.decode()
    child = client_for(user_of("alice", "acme"), team).get(f"/projects/files/swarms/{swarm.number}/nodes/split/")
    assert "look: places is at least 10 and at most 12" in child.content.decode()
    told = Program(secret_of("alice", team)).get(f"/swarms/{swarm.pk}/nodes").json()["nodes"]
    given = {one["key"]: {a["name"]: a["given"] for a in one["answers"]} for one in told}
    assert (given["look"], given["judge"], given["end"]) == (KEPT, {"needs_docs": "no"}, {})
    story = of_swarm(swarm)
    seen = {one["key"]: one for one in facts(story, story.last())["nodes"]}
    assert seen["look"]["answers"] == KEPT
    assert (seen["split"]["when"][0]["at_least"], seen["docs"]["answers"]) == (10, {})


@pytest.mark.parametrize(
    ("given", "faults"),
    [
        (GOOD | {"needs_docs": "yes"}, []),
        ({}, ["needs_docs: Field required", "places: Field required", "copy: Field required"]),
        (GOOD | {"needs_docs": "perhaps"}, ["needs_docs: Input should be 'yes' or 'no'"]),
        (GOOD | {"places": True}, ["places: Input should be a valid number"]),
        (GOOD | {"places": "12"}, ["places: Input should be a valid number"]),
        (GOOD | {"places": float("nan")}, ["places: Input should be a finite number"]),
        (GOOD | {"places": 1e300}, ["places: Input should be less than or equal to 1e+15"]),
        (GOOD | {"copy": "both"}, ["copy: Input should be 'core' or 'cli'"]),
        (GOOD | {"more": 1}, ["more: Extra inputs are not permitted"]),
    ],
)
def test_each_answer_has_its_kind(given: dict[str, Given], faults: list[str]) -> None:
    kept, found = read(ASKED, given)
    assert [fault.replace("1000000000000000", "1e+15") for fault in found] == [f"answers.{fault}" for fault in faults]
    assert kept == ({} if faults else KEPT | {"needs_docs": "yes"})
    assert read((), given)[1] == [f"answers.{name}: Extra inputs are not permitted" for name in given]


def test_a_plan_asks_and_is_changed_where_nothing_ran(project: Project, team: Team) -> None:
    hands = Answering(team, GOOD)
    swarm = begin(project, hands, PLAN)
    now = replan.current(swarm)
    assert {one.key: one for one in now.nodes} == {one.key: one for one in PLAN.nodes}
    asked = ASKED[0].model_copy(update={"kind": "word", "words": ("yes", "no", "later")})
    look = PLAN.nodes[0].model_copy(update={"answers": (asked, *ASKED[1:])})
    made = replan.change(swarm, text(plan(look, *PLAN.nodes[1:])), by=hands.by)
    assert made.changes == {"inserted": [], "dropped": [], "rewired": [], "reworded": ["look"]}
    assert made.document["nodes"][0]["answers"][0]["words"] == ["yes", "no", "later"]
    page = render_to_string("swarms/_planned.html", {"planned": board.planned(made.document)})
    assert "<code>needs_docs</code> (yes or no or later): Does it need documentation?" in page
    assert "judge: needs_docs is not yes" in page
