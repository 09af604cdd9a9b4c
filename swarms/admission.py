"""Whether a team may bring more work now. Beyond its share it is told so, and why, at once: never a silent queue."""

from datetime import timedelta

from django.core.exceptions import ValidationError
from django.db import connection

from swarms.models import Node, Plan, Swarm
from swarms.states import NODE_WAITING, SWARM_ENDED
from tenants import turns
from tenants.models import TeamShare

SWARM_SECONDS, NODE_SECONDS = 60, 30
"""After so long it is worth another try: swarms end seldom, nodes often."""
LOOK_AGAIN = timedelta(seconds=NODE_SECONDS)
"""When the parts of a node that waits for room are looked at again."""
REMEDY = "Try again later, cancel what is not needed, or ask the operator for a larger share."


class AdmissionRefused(ValidationError):
    """The team has as much under way as its share allows. `retry_after` is in seconds."""

    def __init__(self, reason: str, *, retry_after: int, field: str = "") -> None:
        super().__init__({field: reason} if field else reason)
        self.reason = reason
        self.retry_after = retry_after


def admit_goal() -> None:
    """One more swarm of this team, in the transaction that makes it. Raises AdmissionRefused."""
    _one_after_another()
    share = _share()
    if reason := _one_swarm_more(share):
        raise AdmissionRefused(reason, retry_after=SWARM_SECONDS, field="text")
    # A goal brings nodes later; with no room for a single one it can only wait.
    if reason := no_room_for(1, share.max_waiting):
        raise AdmissionRefused(reason, retry_after=NODE_SECONDS, field="text")


def admit_retry() -> None:
    """A failed swarm of this team that is to be tried again, in that transaction. Raises AdmissionRefused."""
    _one_after_another()
    if reason := _one_swarm_more(_share()):
        raise AdmissionRefused(reason, retry_after=SWARM_SECONDS)


def admit_again() -> None:
    """Nodes of this team that had ended have been put back to waiting. Raises AdmissionRefused: then they must not."""
    _one_after_another()
    waiting, most = _waiting(), _share().max_waiting
    if waiting > most:
        reason = f"{waiting} nodes of the team would wait, and {most} may. {REMEDY}"
        raise AdmissionRefused(reason, retry_after=NODE_SECONDS)


def _share() -> TeamShare:
    return TeamShare.objects.get(team=turns.current_team_id())


def _one_after_another() -> None:
    """Until the transaction ends, nobody else of this team is admitted: of two who want the last place, one gets it."""
    # Not the share: who gives out turns holds it, and waits for swarms, of which the caller may hold one.
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || '.admission', 0))")


def _one_swarm_more(share: TeamShare) -> str:
    live = Swarm.objects.exclude(state__in=SWARM_ENDED).count()
    if live < share.max_swarms:
        return ""
    return f"The team has {live} swarms that have not ended, and may have {share.max_swarms}. {REMEDY}"


def admit_nodes(more: int) -> None:
    """So many more nodes of this team that will wait for their turn. Raises AdmissionRefused."""
    if reason := why_not(more):
        raise AdmissionRefused(reason, retry_after=NODE_SECONDS)


def brought_by(plan: Plan, nodes: int) -> int:
    """How many nodes are more when a plan of so many is adopted: a new version has most of them already."""
    return nodes - plan.swarm.nodes.filter(dropped_by=None).count() if plan.amends_id and not plan.node_id else nodes


def why_not_adopt(plan: Plan) -> str:
    """Why the nodes of a plan cannot become the swarm's now; empty: they can. In the transaction that adopts it."""
    _one_after_another()
    return why_not(brought_by(plan, len((plan.document or {}).get("nodes", []))))


def why_not(more: int) -> str:
    """Why there is no room for so many more nodes; empty: there is."""
    if more <= 0:
        return ""
    return no_room_for(more, _share().max_waiting)


def no_room_for(more: int, most: int) -> str:
    """The same, with a known limit."""
    if more <= 0:
        return ""
    waiting = _waiting()
    if waiting + more <= most:
        return ""
    wanted = f"{more} more" if more > 1 else "one more"
    return f"{waiting} nodes of the team wait already, and with {wanted} it would be over {most}. {REMEDY}"


def _waiting() -> int:
    live = Swarm.objects.exclude(state__in=SWARM_ENDED).values("pk")
    return Node.objects.filter(swarm__in=live, state__in=NODE_WAITING).count()
