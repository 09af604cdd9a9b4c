"""Deleting a team for ever: its state, its doors, its schema. What it keeps elsewhere is swarms.removal's."""

from collections.abc import Mapping

from django.db import transaction
from django.db.models.functions import Now

from tenants import provisioning
from tenants.context import PUBLIC, in_schema
from tenants.messages import send_on_commit
from tenants.models import Invitation, Removal, Team, Token
from tenants.states import TeamState


def begin(team: Team, *, by: str, held: Mapping[str, int]) -> Removal | None:
    """From now on nobody gets in: members, programs, runners and their agents. None when the state does not allow it.

    `held` is what the record says was there.
    """
    with in_schema(PUBLIC), transaction.atomic():
        if not provisioning.move(team, TeamState.REMOVING, f"deleted by {by}"):
            return None
        for model in (Token, Invitation):
            model._default_manager.filter(team=team, revoked_at=None).update(revoked_at=Now())
        told = {"schema_name": team.schema_name, "name": team.name, "slug": team.slug, "asked_by": by}
        found = Removal.objects.create(team=team.pk, held=dict(held), **told)
        send_on_commit("remove_team", str(found.pk))
    return found


def drop(removal: Removal) -> None:
    """The schema, the address and every row about the team, unless they are gone already."""
    with in_schema(PUBLIC):
        if team := Team.objects.filter(pk=removal.team, state=TeamState.REMOVING).first():
            provisioning.drop(team, removal.slug)


def finish(removal: Removal) -> None:
    """All of it is gone; the record says so."""
    with in_schema(PUBLIC):
        Removal.objects.filter(pk=removal.pk).update(done_at=Now(), fault="")


def remind() -> int:
    """Removals that are not done (their hint got lost, or a try broke off): hint again. Returns how many there are."""
    with in_schema(PUBLIC):
        waiting = list(Removal.objects.filter(done_at=None).values_list("pk", flat=True))
        for pk in waiting:
            send_on_commit("remove_team", str(pk))
    return len(waiting)
