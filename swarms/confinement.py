"""Coordinators and checks where nothing locks them in: no node's approval is about them, so a person is asked once for
the whole swarm.

A coordinator reads the repository, and checks run what stands in it. Where strangers' words come in, both may do what
those want; and what nothing locks in can reach all that its owner can (see swarms.exposure).
"""

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from agents.placement import Misfit, Nobody, Why
from swarms import approvals, budgets, exposure
from swarms.allowances import Denied, Parked
from swarms.models import Approval, CheckRun, Plan
from swarms.permissions import WALLED
from swarms.states import ApprovalState
from tenants import turns
from tenants.models import Runner

_NO = (ApprovalState.REJECTED, ApprovalState.EXPIRED)
_MISSED_BEATS = 3


def allowed(work: Plan | CheckRun, why: str) -> Nobody | Parked | Denied | None:
    """Whether a swarm's work may begin where nothing locks it in; None: it may. Checks go to a runner that locks them
    in, where there is one, and nobody is asked.

    With the swarm locked. `why`: why nothing locks it in there (agents.placement.unwalled); empty: something does. A
    yes holds for the swarm, a no for what waited for it.
    """
    swarm = work.swarm
    if not why or not exposure.meets_strangers(swarm):
        return None
    asked = swarm.approvals.filter(kind="unconfined").order_by("-requested_at", "-pk").first()
    if asked is not None and asked.state == ApprovalState.APPROVED:
        return None
    if isinstance(work, CheckRun) and (others := _walled()):
        text = f"{why}; {', '.join(others)}, which would lock its checks in, has no room"
        return Nobody("checks", (Misfit("checks", Why.ELSEWHERE, text),), tuple(others))
    if asked is not None and asked.state in _NO and _answered_at(asked) > work.created_at:
        return Denied(f"{why}, and nobody allowed that: {asked.because}")
    if asked is None or asked.state != ApprovalState.PENDING:
        approvals.ask_unconfined(swarm, why)
    return Parked(exposure.parked(why), budgets.ASKED)


def _walled() -> list[str]:
    """Connected runners that may run this team's checks and lock them in."""
    since = timezone.now() - timedelta(seconds=settings.HEARTBEAT_SECONDS * _MISSED_BEATS)
    ours = Q(team=None) | Q(team=turns.current_team_id())
    rows = Runner.objects.filter(ours, trusted=True, sandbox__in=WALLED, seen_at__gt=since, capacity__gt=0)
    return list(rows.exclude(channel="").order_by("name").values_list("name", flat=True))


def _answered_at(asked: Approval) -> datetime:
    return asked.decided_at or asked.expires_at
