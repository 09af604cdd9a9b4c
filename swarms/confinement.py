"""Work where nothing would lock it in: it goes elsewhere if it can, and else a person is asked: about a node by itself,
about coordinators and checks, of which no node's approval speaks, once for the whole swarm.

A coordinator reads the repository, and checks run what stands in it. Where strangers' words come in, both may do what
those want; and what nothing locks in can reach all that its owner can (see swarms.exposure).
"""

from datetime import datetime

from django.db.models import Q

from agents import placing
from agents.placement import Chosen, Misfit, Nobody, Why, unwalled
from agents.standings import connected
from swarms import approvals, budgets, exposure
from swarms.allowances import Denied, Parked
from swarms.models import Approval, CheckRun, Node, Plan
from swarms.permissions import WALLED
from swarms.states import ApprovalState
from tenants import turns
from tenants.models import Runner

_NO = (ApprovalState.REJECTED, ApprovalState.EXPIRED)


def allowed(work: Plan | CheckRun, why: str, agent: Chosen | None = None) -> Nobody | Parked | Denied | None:
    """Whether a swarm's work may begin where nothing locks it in; None: it may. Where there is a runner that would lock
    it in, it goes there, and nobody is asked. `agent`: who takes it; None: checks.

    With the swarm locked. `why`: why nothing locks it in there (agents.placement.unwalled); empty: something does. A
    yes holds for the swarm, a no for what waited for it.
    """
    swarm = work.swarm
    if not why or not exposure.meets_strangers(swarm):
        return None
    asked = swarm.approvals.filter(kind="unconfined").order_by("-requested_at", "-pk").first()
    if asked is not None and asked.state == ApprovalState.APPROVED:
        return None
    if instead := elsewhere("coordinator" if agent else "checks", why, agent):
        return instead
    if asked is not None and asked.state in _NO and _answered_at(asked) > work.created_at:
        return Denied(f"{why}, and nobody allowed that: {asked.because}")
    if asked is None or asked.state != ApprovalState.PENDING:
        approvals.ask_unconfined(swarm, why)
    return Parked(exposure.parked(why), budgets.ASKED)


def chosen(node: Node, role: str, runner: Runner) -> Chosen | Nobody | None:
    """The agent that takes a node's work on this runner; None: the node is held back, and a person is asked about it.

    With the swarm locked.
    """
    swarm, hears = node.swarm, exposure.hears_strangers(node)
    found = placing.chosen(role, runner, f"{node.title}\n{node.instructions}", untrusted=hears)
    if isinstance(found, Nobody):
        return found
    place = unwalled(found, runner.name, runner.sandbox)
    if not exposure.is_news(swarm, node, hears=hears, unwalled=bool(place)):
        return found
    is_of_place = bool(place) and not exposure.is_news(swarm, node, hears=hears, unwalled=False)
    if is_of_place and (instead := elsewhere(role, place, found)):
        return instead
    exposure.hold_back(swarm, node, place)
    return None


def elsewhere(role: str, why: str, agent: Chosen | None) -> Nobody | None:
    """Work that had best go to a runner that locks it in: as work that nobody takes here. None: there is no such
    runner, or its agent does not work there."""
    if agent is not None and (agent.host is not None or agent.is_bound):
        return None
    if not (names := _walled(Q() if agent else Q(trusted=True))):
        return None
    text = f"{why}; {', '.join(names)}, which would lock it in, has no room"
    who = agent.agent if agent else role
    return Nobody(role, (Misfit(who, Why.ELSEWHERE, text),), tuple(names), is_untrusted=True)


def _walled(which: Q) -> list[str]:
    """Connected runners that serve this team and lock in what they run."""
    ours = Q(team=None) | Q(team=turns.current_team_id())
    rows = connected().filter(ours, which, sandbox__in=WALLED, capacity__gt=0)
    return list(rows.order_by("name").values_list("name", flat=True))


def _answered_at(asked: Approval) -> datetime:
    return asked.decided_at or asked.expires_at
