"""Work that belongs to no team's schema: sent from public."""

from uuid import UUID

import dramatiq

from tenants import provisioning
from tenants.models import Team


@dramatiq.actor(time_limit=300_000)
def provision(team_id: str) -> None:
    """Make a new team's schema."""
    provisioning.build(Team.objects.get(pk=UUID(team_id)))
