"""Whether the object store has what the tables say: it is asked once for each content."""

from collections.abc import Iterator
from uuid import UUID

from sessions.artifacts import contents
from sessions.models import Content
from swarms.models import Swarm

NAMES = {"artifact_stored": "What is kept lies in the object store, with the size that it has."}


def violations(swarm: UUID | None = None) -> Iterator[tuple[str, str, str, str]]:
    """What the store does not have (invariant, id, swarm, in words), in the current schema."""
    found = Content.objects.filter(stored_at__isnull=False)
    if swarm:
        found = found.filter(artifacts__subject=Swarm(pk=swarm).topic).distinct()
    for content in found.order_by("pk").iterator():
        if fault := contents.fault(content):
            yield "artifact_stored", str(content.pk), str(swarm or ""), f"content {content.sha256[:12]} {fault}"
