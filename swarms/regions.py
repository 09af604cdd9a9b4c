"""What the regions of a swarm's page show, each by its name."""

from collections.abc import Callable
from typing import Any

from sessions import talk
from swarms import artifacts as kept
from swarms import awareness, board, budgets, conditions, operations, picture, purses, rollback
from swarms.forms import PlanForm
from swarms.models import Swarm
from swarms.plan_yaml import write_yaml
from swarms.states import PlanState, SwarmState
from swarms.versions import AMENDABLE

Context = dict[str, Any]


def header(swarm: Swarm) -> Context:
    """State, figures, and what can be done."""
    reasons = [one for one in conditions.of_swarm(swarm) if one.kind != "approval"]  # those are asked right below
    return meters(swarm) | {"can": _can(swarm), "purse_url": purses.address_of(swarm), "reasons": reasons}


def meters(swarm: Swarm) -> Context:
    """State and figures, the same for every member."""
    return {"meters": board.meters(swarm), "purse": purses.purse(budgets.subject_of(swarm))}


def _can(swarm: Swarm) -> set[str]:
    """Verbs that are possible now."""
    return operations.possible(swarm) | ({"rollback"} if rollback.possible(swarm) else set())


def asks(swarm: Swarm) -> Context:
    """What waits for a person."""
    return {"asks": board.asks(swarm), "questions": talk.open_questions(swarm.topic)}


def cards(swarm: Swarm) -> list[board.Card]:
    """Its nodes; before there are any, those of its plan."""
    if real := board.cards(swarm):
        return real
    plan = board.last_plan(swarm)
    return board.planned(plan.document if plan else None)


def nodes(swarm: Swarm) -> Context:
    """The nodes as rows."""
    return {"cards": cards(swarm)}


def graph(swarm: Swarm) -> Context:
    """The nodes as a picture."""
    return {"graph": picture.graph(cards(swarm))}


def now(swarm: Swarm) -> Context:
    """Who works, on what."""
    return {"agents": awareness.at_work(swarm.pk)[: awareness.MOST_AGENTS]}


def plan(swarm: Swarm) -> Context:
    """Its plan, and the forms to give another one."""
    found = board.last_plan(swarm)
    document = write_yaml(found.document) if found and found.document else ""
    return {
        "plan": found,
        "planned": board.planned(found.document if found else None),
        "plan_form": PlanForm(initial={"yaml": document}),
        "may_change": swarm.state in AMENDABLE,
        "parts": board.parts(swarm),
        "may_give": swarm.state in (SwarmState.PLANNING, SwarmState.PROPOSED),
        "needs_help": found is not None and found.state == PlanState.INVALID,
    }


def checks(swarm: Swarm) -> Context:
    """Checks on the whole."""
    return {"runs": board.result_checks(swarm)}


def artifacts(swarm: Swarm) -> Context:
    """Files that agents left beside their commits."""
    return {"artifacts": kept.of_swarm(swarm)}


REGIONS: dict[str, Callable[[Swarm], Context]] = {
    "header": header,
    "asks": asks,
    "graph": graph,
    "nodes": nodes,
    "now": now,
    "plan": plan,
    "checks": checks,
    "artifacts": artifacts,
}
