"""Pages of nodes that the control plane itself carries out: no agent, no transcript, and nothing is missing."""

from collections.abc import Callable

from django.test import Client

from agents.contracts import PlanNode, PlanProposal
from swarms import control
from swarms.models import Swarm
from swarms.words import tell
from tenants.models import Team
from tests.conftest import user_of
from tests.milestones import adopted


def plan() -> PlanProposal:
    after = PlanNode(key="after", title="Join", kind="noop", depends_on=("agent", "first"))
    agent = PlanNode(key="agent", title="Work", role="developer", instructions="w", writes=("w",))
    return PlanProposal(summary="s", nodes=(PlanNode(key="first", title="Begin", kind="noop"), agent, after))


def page(client: Client, swarm: Swarm, rest: str = "") -> str:
    answer = client.get(f"/projects/{swarm.project.slug}/swarms/{swarm.number}/{rest}")
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_milestone_is_shown_as_one_and_says_what_it_waits_for(team: Team, client_for: Callable[..., Client]) -> None:
    swarm = adopted(plan())
    assert control.serve() == 1
    client = client_for(user_of("alice", "acme"), team)
    whole = page(client, swarm)
    assert whole.count("<span>milestone</span>") == 2
    assert "Waits for agent (ready)" in whole
    first = page(client, swarm, "nodes/first/")
    assert "Succeeded" in first
    assert "the control plane" in first
    assert "nothing had to be done" in first.lower()
    assert "Waits for agent (ready)" in page(client, swarm, "nodes/after/")


def test_moves_that_were_made_together_are_told_in_one_line() -> None:
    def move(name: str, after: str) -> dict[str, str]:
        return {"noun": "node", "id": name, "name": name, "before": "blocked", "after": after, "because": "why"}

    one = tell("nodes.moved", {"moves": [move("a", "ready")]})
    assert one is not None
    assert (one.text, one.why, one.node) == ("a: ready", "why", "a")
    some = tell("nodes.moved", {"moves": [move("a", "ready"), move("b", "ready"), move("c", "skipped")]})
    assert some is not None
    assert some.text == "a, b: ready; c: skipped"
    many = tell("nodes.moved", {"moves": [move(str(n), "succeeded") for n in range(30)]})
    assert many is not None
    assert many.text == "30 nodes: succeeded"
    assert tell("nodes.moved", {"moves": [move("a", "running")]}) is None
