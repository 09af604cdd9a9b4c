"""Swarms and archives as operators name them on the command line, over all teams or in one."""

from typing import NamedTuple
from uuid import UUID

from swarms.models import Archive, Swarm
from tenants.context import each_team, in_schema
from tenants.models import Team
from tenants.states import TeamState


class NoSuch(ValueError):
    """Nothing has this name, or more than one thing has; the text says what to do."""


class Named(NamedTuple):
    """Where something is."""

    schema: str
    pk: UUID


class Parts(NamedTuple):
    """What people write: `textkit` is a slug alone, `textkit#12` has a number, `textkit#12/words` a key, too."""

    slug: str
    number: int | None
    key: str


def parts(name: str) -> Parts | None:
    """The parts of the name of a project, a swarm or a node; None when it is none of these. Pure."""
    thing, slash, key = name.partition("/")
    slug, hash_sign, number = thing.partition("#")
    if not hash_sign:
        return None if slash else Parts(slug, None, "")
    if not (number.isascii() and number.isdigit() and len(number) < 10) or bool(slash) != bool(key):
        return None
    return Parts(slug, int(number), key)


def schema_of(team: str) -> str:
    """The schema of the team with this address. Raises NoSuch."""
    found = Team.objects.filter(domains__slug=team, state=TeamState.READY).values_list("schema_name", flat=True).first()
    if found is None:
        raise NoSuch(f"--team: there is no team with the address {team}, or it is not ready.")
    return found


def find(name: str, team: str | None, *, archives: bool = False) -> Named:
    """The swarm `<project>#<number>` or `<uuid>`; with `archives` also an archive, by its id. Raises NoSuch."""
    said = parts(name)
    wanted: dict[str, object]
    if said and said.number is not None and not said.key:
        wanted = {"project__slug": said.slug, "number": said.number}
    else:
        try:
            wanted = {"pk": UUID(name)}
        except ValueError as error:
            raise NoSuch(f"{name} is neither <project>#<number>, e.g. textkit#12, nor an id.") from error
    found = []
    for schema in list(each_team()) if team is None else [schema_of(team)]:
        with in_schema(schema):
            found += [Named(schema, pk) for pk in Swarm.objects.filter(**wanted).values_list("pk", flat=True)]
            if archives and "pk" in wanted:
                found += [Named(schema, pk) for pk in Archive.objects.filter(**wanted).values_list("pk", flat=True)]
    if not found:
        raise NoSuch(f"There is no swarm {name}{f' in the team {team}' if team else ''}.")
    if len(found) > 1:
        raise NoSuch(f"{len(found)} teams have a swarm {name}: name one with --team.")
    return found[0]
