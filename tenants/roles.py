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
    VIEW = "view"
    STATE_GOAL = "state_goal"
    EDIT_PROJECT = "edit_project"
    EXPORT = "export"
    IMPORT = "import"
    APPROVE = "approve"
    ENROL = "enrol"
    INVITE = "invite"
    SPEND = "spend"
    CONNECT = "connect"
    KEYS = "keys"
    POLICY = "policy"
    ADMINISTER = "administer"

    @property
    def words(self) -> str:
        """What it allows, as it follows "may …"."""
        return _WORDS[self]


_WORDS = {
    Permission.VIEW: "see everything of the team",
    Permission.STATE_GOAL: "state goals, give plans, and steer swarms and their nodes",
    Permission.EDIT_PROJECT: "add, change and archive projects",
    Permission.EXPORT: "take swarms out as files",
    Permission.IMPORT: "bring in swarms that came as files, and delete those",
    Permission.APPROVE: "decide approvals",
    Permission.ENROL: "set up agents, trust servers and add runners",
    Permission.INVITE: "invite and remove members and change roles below owner",
    Permission.SPEND: "set budgets and the prices of models",
    Permission.CONNECT: "send events of the team on to webhooks",
    Permission.KEYS: "give and revoke the keys of the team for model providers",
    Permission.POLICY: "make and revoke rules for the tools of agents",
    Permission.ADMINISTER: "rename and delete the team and hand out ownership",
}


_VIEWER = frozenset({Permission.VIEW})
_DEVELOPER = _VIEWER | {Permission.STATE_GOAL, Permission.EDIT_PROJECT, Permission.EXPORT}
_APPROVER = _VIEWER | {Permission.APPROVE}
_ADMIN = (
    _DEVELOPER
    | _APPROVER
    | {
        Permission.ENROL,
        Permission.INVITE,
        Permission.SPEND,
        Permission.IMPORT,
        Permission.CONNECT,
        Permission.KEYS,
        Permission.POLICY,
    }
)

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


def roles_table() -> list[tuple[str, list[bool]]]:
    """What each role may do: one row per permission, one cell per role in the order of `Role`."""
    return [(permission.words, [permission in MAY[role] for role in Role]) for permission in Permission]
