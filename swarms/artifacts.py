"""Which artifacts belong to a swarm, and to which attempt of a node."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db.models import QuerySet

from agents.models import Execution
from sessions.models import Artifact, Session
from swarms.models import Attempt, Swarm

MOST = 200
"""Artifacts that one page or answer tells of."""


@dataclass(frozen=True)
class Row:
    """An artifact in a list, with the attempt that made it."""

    artifact: Artifact
    node: str = ""
    """Key of the node; empty: it planned, or ran checks."""
    attempt: int | None = None


def of_swarm(swarm: Swarm) -> list[Row]:
    """The newest of a swarm."""
    return in_rows(_found(subject=swarm.topic).order_by("-created_at", "-pk")[:MOST])


def of_session(session: Session) -> list[Row]:
    """Those that were made in a session, by name."""
    return in_rows(_found(session=session).order_by("name")[:MOST])


def _found(**where: object) -> QuerySet[Artifact]:
    return Artifact.objects.filter(**where).select_related("content")


def in_rows(artifacts: Sequence[Artifact] | QuerySet[Artifact]) -> list[Row]:
    """Each with its node and attempt."""
    found = list(artifacts)
    sessions = {one.session_id for one in found if one.session_id}
    tries: dict[UUID, tuple[str, int]] = {
        session: (key, number)
        for session, key, number in Attempt.objects.filter(execution__session__in=sessions).values_list(
            "execution__session", "node__key", "number"
        )
    }
    return [Row(one, *tries.get(one.session_id, ("", None))) for one in found]  # type: ignore[arg-type]


def examine(execution: Execution, named: Iterable[UUID]) -> list[str]:
    """What is wrong with the artifacts that an outcome names: they must be there, and this session's."""
    wanted = set(named)
    if not wanted:
        return []
    known = set(Artifact.objects.filter(session=execution.session_id).values_list("pk", flat=True))
    return [f"artifact {key} was not kept in this session" for key in sorted(wanted - known)]
