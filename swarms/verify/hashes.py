"""Whether what was decided, or waits to be, is what its hash stands for."""

from collections.abc import Iterator
from uuid import UUID

from swarms.digests import digest
from swarms.models import Approval, Plan
from swarms.states import ApprovalState, PlanState

NAME = "hash_says_so"
SAYS = "The hash of a plan, and of what a person is asked about, is that of exactly this."


def violations(swarm: UUID | None = None) -> Iterator[tuple[str, str, str]]:
    """Rows (id, swarm, in words) whose hash is another, in the current schema; those that have ended are frozen."""
    only = {"swarm": swarm} if swarm else {}
    plans = Plan.objects.filter(state__in=[PlanState.PROPOSED, PlanState.APPROVED], document__isnull=False, **only)
    for pk, of, version, document, said in plans.values_list("pk", "swarm", "version", "document", "digest").iterator():
        if digest(document) != said:
            yield str(pk), str(of), f"plan {version} is otherwise than its hash says"
    asked = Approval.objects.filter(state=ApprovalState.PENDING, **only)
    for pk, of, title, subject, said in asked.values_list("pk", "swarm", "title", "subject", "digest").iterator():
        if digest(subject) != said:
            yield str(pk), str(of), f"{title}: what is asked about is otherwise than its hash says"
