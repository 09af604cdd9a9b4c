"""Who belongs to a team and as what. The last owner stays."""

import structlog
from django.db import transaction

from tenants import programs
from tenants.models import Membership, Team, User
from tenants.roles import Permission, Role, may

logger = structlog.get_logger(__name__)


class NotAllowed(ValueError):
    """The change is refused; the text tells the person why and what to do."""


def add_member(team: Team, user: User, role: str, *, automatic: bool = False) -> Membership:
    """Make a user a member; one who is a member already keeps the role."""
    membership, _ = Membership.objects.get_or_create(
        team=team, user=user, defaults={"role": Role(role), "is_automatic": automatic}
    )
    return membership


def grantable(by: Membership) -> list[Role]:
    """The roles that a member may give to others."""
    if not may(by.role, Permission.INVITE):
        return []
    return [role for role in Role if role != Role.OWNER or may(by.role, Permission.ADMINISTER)]


def change_role(member: Membership, role: str, *, by: Membership) -> None:
    """Give a member another role. Raises NotAllowed."""
    role = Role(role)
    with transaction.atomic():
        member = _locked(member)
        _may_touch(member, by)
        if role not in grantable(by):
            raise NotAllowed(f"Only an owner can make somebody {role.label.lower()}.")
        if member.role == Role.OWNER and role != Role.OWNER:
            _another_owner(member, "made " + role.label.lower())
        Membership.objects.filter(pk=member.pk).update(role=role)
    logger.info("role changed", member=str(member.user_id), before=member.role, after=role, by=str(by.user_id))


def remove_member(member: Membership, *, by: Membership) -> None:
    """Take somebody out of the team; everybody may leave by themselves. Raises NotAllowed."""
    with transaction.atomic():
        member = _locked(member)
        if member.pk != by.pk:
            _may_touch(member, by)
        if member.role == Role.OWNER:
            _another_owner(member, "removed")
        programs.revoke_all(member)
        Membership.objects.filter(pk=member.pk).delete()
    logger.info("member removed", member=str(member.user_id), by=str(by.user_id))


def _locked(member: Membership) -> Membership:
    # All owners are locked, in one order: two owners who demote each other at once must not both succeed.
    rows = Membership.objects.filter(team=member.team_id).order_by("pk").select_for_update()
    found = {row.pk: row for row in rows}
    if member.pk not in found:
        raise NotAllowed("This person is not a member any more.")
    return found[member.pk]


def _may_touch(member: Membership, by: Membership) -> None:
    if not may(by.role, Permission.INVITE):
        raise NotAllowed("Only owners and admins can change members.")
    if member.role == Role.OWNER and not may(by.role, Permission.ADMINISTER):
        raise NotAllowed("Only an owner can change another owner.")


def _another_owner(member: Membership, what: str) -> None:
    people = Membership.objects.filter(
        team=member.team_id, role=Role.OWNER, is_automatic=False, user__is_active=True
    ).exclude(pk=member.pk)
    if not people.exists():
        raise NotAllowed(f"{member.user} is the last owner and cannot be {what}. Make somebody else owner first.")
