"""What can be done to a swarm or a node can be done on its page, by a program and by the operator: all three."""

import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from agents.contracts import PlanNode, PlanProposal
from sessions.models import Event
from swarms import plan_yaml, replan, urls
from swarms.api import swarms as api
from swarms.management.commands import swarm as on_command_line
from swarms.models import Approval, Plan, Project, Swarm
from swarms.views import operations as pages
from swarms.views import plan as plan_pages
from tenants.models import Team
from tests.conftest import user_of
from tests.hands import Hands
from tests.milestones import adopted
from tests.rollback_stage import hands, landed, project, source, worker
from tests.test_api_swarms import Program, secret_of
from tests.test_direct_call import ready

__all__ = ["hands", "landed", "project", "ready", "source", "worker"]
LOOKS = {"show", "plan"}
"""Words of the command that change nothing."""


def verbs_of_pages() -> Iterator[tuple[str, str]]:
    """Addresses of pages that change something: of a swarm or of a node, and the verb."""
    for pattern in urls.urlpatterns:
        name, module = str(pattern.name), pattern.callback.__module__
        if module == plan_pages.__name__:
            yield "swarm", "change"  # the whole plan, or a note for the coordinator
        elif module == pages.__name__ and pattern.callback is not pages.turn:
            noun, _, verb = name.partition("-")
            yield noun, verb


def test_every_operation_is_there_on_pages_for_programs_and_for_operators() -> None:
    of_pages = set(verbs_of_pages())
    of_programs = {("swarm", verb) for verb in api.SWARM_VERBS} | {("node", verb) for verb in api.NODE_VERBS}
    of_operators = {("swarm", verb) for verb in on_command_line.VERBS} - {("swarm", look) for look in LOOKS}
    of_operators = (of_operators - {("swarm", "skip")}) | {("node", verb) for verb in on_command_line.NODE_VERBS}
    assert len(of_pages) == 12
    assert of_programs == of_pages
    assert of_operators == of_pages


def test_the_documents_name_every_operation() -> None:
    docs = Path(__file__).resolve().parent.parent / "docs"
    of_swarms = re.findall(r"^\| `POST` \| (`/swarms/<id>/[^n|][^|]*) \|", (docs / "api.md").read_text(), re.MULTILINE)
    told = {word.rpartition("/")[2] for line in of_swarms for word in re.findall(r"`([^`]+)`", line)}
    assert told == set(api.SWARM_VERBS)


def command(*words: str, team: str = "acme") -> str:
    out = StringIO()
    call_command("swarm", *words, "--team", team, stdout=out)
    return out.getvalue()


def test_the_operator_asks_for_a_rollback_and_the_team_decides_it(landed: Swarm, hands: Hands) -> None:
    said = command("rollback", "lists#1")
    assert "waits for approval: Roll back lists #1" in said
    asked = Approval.objects.get(kind="rollback", state="pending")
    assert asked.requested_by is None
    with pytest.raises(CommandError, match="waits for approval already"):
        command("rollback", "lists#1")
    hands.approve_all()
    for _ in range(3):
        hands.run(landed)
    assert landed.state == "rolled_back", landed.because
    with pytest.raises(CommandError, match="is rolled back; only one that has landed"):
        command("rollback", "lists#1")


def test_the_operator_rolls_back_at_once_where_nobody_has_to_approve(landed: Swarm) -> None:
    Project.objects.update(approve_landing=False)
    assert "rolling_back, the operator asked for it" in command("rollback", "lists#1")
    assert Event.objects.get(kind="swarm.moved", payload__after="rolling_back").actor == "system"


def milestones(*keys: str) -> PlanProposal:
    return PlanProposal(
        summary="Milestones.", nodes=tuple(PlanNode(key=key, title=key, kind="noop", risk="high") for key in keys)
    )


def written(plan: PlanProposal) -> str:
    return plan_yaml.write_yaml(plan.model_dump(mode="json"))


def test_a_plan_is_printed_changed_and_given_back(team: Team, ready: None, tmp_path: Path) -> None:
    swarm = adopted(milestones("a"))
    file = tmp_path / "plan.yaml"
    file.write_text(command("plan", "plain#1"))
    assert plan_yaml.read_yaml(file.read_text()) == replan.current(swarm)
    with pytest.raises(CommandError, match="Nothing changes"):
        command("change", "plain#1", "--plan", str(file))
    file.write_text(written(milestones("a", "b")))
    command("change", "plain#1", "--plan", str(file))
    changed = Plan.objects.get(version=2)
    assert (changed.source, changed.created_by, changed.changes["inserted"]) == ("yaml", None, ["b"])
    assert Event.objects.get(kind="decision.made", payload__what="plan 2 with 2 nodes").payload["by"] == "operator"
    command("change", "plain#1", "--note", "one more")
    assert Plan.objects.get(version=3).because == "one more"
    for words in (["change", "plain#1"], ["change", "plain#1", "--plan", str(file), "--note", "x"]):
        with pytest.raises(CommandError, match="Give either --plan"):
            command(*words)
    with pytest.raises(CommandError, match="cannot be read"):
        command("change", "plain#1", "--plan", str(tmp_path / "nothing.yaml"))
    with pytest.raises(CommandError, match="--node: change takes none; it is for show, skip, retry, priority"):
        command("change", "plain#1", "--plan", str(file), "--node", "a")


def test_a_program_changes_a_plan(team: Team, ready: None) -> None:
    swarm = adopted(milestones("a"))
    bob = Program(secret_of("bob", team))
    path = f"/swarms/{swarm.pk}"
    assert plan_yaml.read_yaml(bob.get(f"{path}/plan").json()["plan"]) == replan.current(swarm)
    faults = bob.post(f"{path}/change", {"plan": "nodes: ["})
    assert faults.status_code == 422
    assert faults.json()["faults"][0].startswith("This is not YAML")
    assert bob.post(f"{path}/change", {}).status_code == 422
    assert bob.post(f"{path}/change", {"plan": "x", "note": "y"}).status_code == 422
    assert bob.post(f"{path}/change", {"plan": written(milestones("a", "b"))}).status_code == 200
    assert Plan.objects.get(version=2).created_by == user_of("bob", "acme")
    assert bob.post(f"{path}/change", {"note": "one more"}).status_code == 200
    assert Plan.objects.get(version=3).because == "one more"
    assert bob.post(f"{path}/cancel").status_code == 200
    late = bob.post(f"{path}/change", {"note": "two more"})
    assert (late.status_code, late.json()["error"]) == (
        409,
        "The swarm is cancelling; its plan can be changed only while it is running or paused.",
    )
    assert bob.post(f"{path}/rollback").status_code == 409
