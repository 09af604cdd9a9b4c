"""Pages of a team's host that belong to people and settings."""

from django.urls import path

from tenants.sites import team_admin
from tenants.views import members, preferences, programs, signin

urlpatterns = [
    path("logout/", signin.logout, name="logout"),
    path("team/", members.people, name="people"),
    path("team/roles/", members.roles, name="roles"),
    path("team/invite/", members.invite, name="invite"),
    path("team/invitations/<uuid:invitation>/revoke/", members.revoke, name="revoke_invitation"),
    path("team/members/<uuid:member>/role/", members.change_role, name="change_role"),
    path("team/members/<uuid:member>/remove/", members.remove, name="remove_member"),
    path("programs/", programs.tokens, name="programs"),
    path("programs/new/", programs.issue, name="program_issue"),
    path("programs/<uuid:token>/revoke/", programs.revoke, name="program_revoke"),
    path("settings/", preferences.preferences, name="settings"),
    path("settings/name/", preferences.rename, name="rename_team"),
    path("settings/look/", preferences.theme, name="theme"),
    path("admin/", team_admin.urls),
]
