"""Which events a webhook gets. Pure but for the registered way from subjects to projects."""

from collections.abc import Callable, Collection, Iterable, Mapping
from uuid import UUID

from django.db.models import Q

from sessions.kinds import KINDS
from sessions.models import Session

NEVER = ("webhook.tested",)
"""Kinds that are sent to who asked for them, and to nobody else."""

Finder = Callable[[Collection[str]], Mapping[str, UUID]]
_finders: list[Finder] = []


def register(finder: Finder) -> None:
    """Let the app that knows projects say (from AppConfig.ready) to which one each of some subjects belongs."""
    _finders.append(finder)


def unknown(kinds: Iterable[str]) -> list[str]:
    """Those of the given kinds and beginnings (`swarm.`) that stand for nothing."""
    return [kind for kind in kinds if not any(matches([kind], known) for known in KINDS)]


def matches(kinds: Collection[str], kind: str) -> bool:
    """Whether a kind is wanted: named, or with a beginning that is (which ends with a dot); all are when none is."""
    if kind in NEVER:
        return False
    return not kinds or any(kind == one or (one.endswith(".") and kind.startswith(one)) for one in kinds)


def of_kinds(kinds: Collection[str]) -> Q:
    """`matches`, for a query."""
    wanted = Q(kind__in=[one for one in kinds if not one.endswith(".")])
    for one in kinds:
        if one.endswith("."):
            wanted |= Q(kind__startswith=one)
    return ~Q(kind__in=NEVER) & (wanted if kinds else Q())


def of_projects(projects: Collection[str], subjects: Collection[str]) -> set[str]:
    """Those of the subjects that belong to one of the projects; all when none is named."""
    if not projects:
        return set(subjects)
    keys = {name.removeprefix("session:"): name for name in subjects if name.startswith("session:")}
    above = {keys[str(pk)]: of for pk, of in Session.objects.filter(pk__in=keys).values_list("pk", "subject")}
    asked = {above.get(name, name) for name in subjects}
    found = {name: str(project) for finder in _finders for name, project in finder(asked).items()}
    return {name for name in subjects if found.get(above.get(name, name)) in projects}
