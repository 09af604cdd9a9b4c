"""Roles in a team, and the one table of what each may do. Pure."""

from enum import StrEnum


class Role(StrEnum):
    OWNER = "owner"
    ADMIN = "admin"
    APPROVER = "approver"
    DEVELOPER = "developer"
    VIEWER = "viewer"

    @property
    def label(self) -> str:
        return self.value.capitalize()


class Permission(StrEnum):
    VIEW = "view"  # see everything of the team
    STATE_GOAL = "state_goal"  # state goals, give plans, pause, resume and cancel swarms
    EDIT_PROJECT = "edit_project"  # add and change projects
    APPROVE = "approve"  # decide approvals
    ENROL = "enrol"  # trust servers found on the network, add runners
    INVITE = "invite"  # invite and remove members, change roles below owner
    ADMINISTER = "administer"  # rename the team, hand out ownership


_VIEWER = frozenset({Permission.VIEW})
_DEVELOPER = _VIEWER | {Permission.STATE_GOAL, Permission.EDIT_PROJECT}
_APPROVER = _VIEWER | {Permission.APPROVE}
_ADMIN = _DEVELOPER | _APPROVER | {Permission.ENROL, Permission.INVITE}

MAY: dict[Role, frozenset[Permission]] = {
    Role.VIEWER: _VIEWER,
    Role.DEVELOPER: _DEVELOPER,
    Role.APPROVER: _APPROVER,
    Role.ADMIN: _ADMIN,
    Role.OWNER: _ADMIN | {Permission.ADMINISTER},
}


def may(role: str, permission: Permission) -> bool:
    """Whether a member with this role may do that."""
    return permission in MAY[Role(role)]
