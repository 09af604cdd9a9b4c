"""Who asks, and whose turn it is: everything that must be seen across teams lives here, in the public schema."""

from tenants.models.people import Domain, Invitation, Membership, Removal, Team, User
from tenants.models.tokens import Runner, Token
from tenants.models.turns import Due, Outbox, Placement, TeamShare, Ticket

__all__ = [
    "Domain",
    "Due",
    "Invitation",
    "Membership",
    "Outbox",
    "Placement",
    "Removal",
    "Runner",
    "Team",
    "TeamShare",
    "Ticket",
    "Token",
    "User",
]
