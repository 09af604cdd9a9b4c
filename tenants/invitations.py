"""Links by which people join a team, each once."""

import secrets
from datetime import timedelta

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from tenants.hosts import public_url
from tenants.members import NotAllowed, add_member, grantable
from tenants.models import Invitation, Membership, Team, User
from tenants.roles import Role
from tenants.tokens import digest

LIFE = timedelta(days=7)


def pending(team: Team | None = None) -> QuerySet[Invitation]:
    """Invitations that can still be accepted."""
    found = Invitation.objects.filter(accepted_at=None, revoked_at=None, expires_at__gt=timezone.now())
    return found.filter(team=team) if team else found


def invite(*, role: str, by: Membership, email: str = "") -> tuple[Invitation, str]:
    """A new invitation and its link, which cannot be read again. Raises NotAllowed."""
    if Role(role) not in grantable(by):
        raise NotAllowed(f"You cannot invite somebody as {Role(role).label.lower()}.")
    secret = secrets.token_urlsafe(32)
    invitation = Invitation.objects.create(
        team_id=by.team_id,
        email=email.strip().lower(),
        role=role,
        token_hash=digest(secret),
        invited_by_id=by.user_id,
        expires_at=timezone.now() + LIFE,
    )
    return invitation, public_url(f"/join/{secret}/")


def find(secret: str) -> Invitation | None:
    """The invitation behind a link, if it can still be accepted."""
    return pending().select_related("team", "invited_by").filter(token_hash=digest(secret)).first()


def revoke(invitation: Invitation) -> bool:
    """Take an invitation back; False when it was accepted or revoked before."""
    return bool(pending().filter(pk=invitation.pk).update(revoked_at=timezone.now()))


def accept(invitation: Invitation, user: User) -> Membership:
    """Join the team; of two who accept at once, one does. A member already stays as they are. Raises NotAllowed."""
    if invitation.email and invitation.email != user.email:
        raise NotAllowed(f"This invitation is for {invitation.email}, but you are signed in as {user.email}.")
    member = Membership.objects.filter(team=invitation.team_id, user=user).first()
    if member:
        return member
    with transaction.atomic():
        now = timezone.now()
        mine = Q(accepted_at=None, revoked_at=None, expires_at__gt=now)
        if not Invitation.objects.filter(mine, pk=invitation.pk).update(accepted_at=now, accepted_by=user):
            raise NotAllowed("This invitation was used or taken back. Ask for a new one.")
        return add_member(invitation.team, user, invitation.role)
