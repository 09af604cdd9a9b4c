"""Coordinators and checks where nothing locks them in: no node's approval is about them, so a person is asked once for
the whole swarm.

A coordinator reads the repository, and checks run what stands in it. Where strangers' words come in, both may do what
those want; and what nothing locks in can reach all that its owner can (see swarms.exposure).
"""

from datetime import datetime

from swarms import approvals, budgets, exposure
from swarms.allowances import Denied, Parked
from swarms.models import Approval, CheckRun, Plan
from swarms.states import ApprovalState

_NO = (ApprovalState.REJECTED, ApprovalState.EXPIRED)


def allowed(work: Plan | CheckRun, why: str) -> Parked | Denied | None:
    """Whether a swarm's work may begin where nothing locks it in; None: it may.

    With the swarm locked. `why`: why nothing locks it in there (agents.placement.unwalled); empty: something does. A
    yes holds for the swarm, a no for what waited for it.
    """
    swarm = work.swarm
    if not why or not exposure.meets_strangers(swarm):
        return None
    asked = swarm.approvals.filter(kind="unconfined").order_by("-requested_at", "-pk").first()
    if asked is not None and asked.state == ApprovalState.APPROVED:
        return None
    if asked is not None and asked.state in _NO and _answered_at(asked) > work.created_at:
        return Denied(f"{why}, and nobody allowed that: {asked.because}")
    if asked is None or asked.state != ApprovalState.PENDING:
        approvals.ask_unconfined(swarm, why)
    return Parked(exposure.parked(why), budgets.ASKED)


def _answered_at(asked: Approval) -> datetime:
    return asked.decided_at or asked.expires_at
