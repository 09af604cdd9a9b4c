"""The team's people."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from tenants import invitations, members
from tenants.access import TeamRequest, requires
from tenants.forms import InviteForm
from tenants.hosts import public_url
from tenants.models import Invitation, Membership
from tenants.roles import Permission, Role, roles_table


@require_safe
@requires(Permission.VIEW)
def people(request: TeamRequest) -> HttpResponse:
    """Members, pending invitations, and the form to invite."""
    return _people(request, InviteForm(roles=members.grantable(request.membership)))


def _people(request: TeamRequest, form: InviteForm, link: str = "", status: int = 200) -> HttpResponse:
    me = request.membership
    rows = Membership.objects.filter(team=request.team).select_related("user").order_by("created_at", "pk")
    grantable = members.grantable(me)
    context = {
        "members": [
            {"row": row, "may_change": bool(grantable) and (row.role in grantable), "is_me": row.pk == me.pk}
            for row in rows
        ],
        "roles": [(role.value, role.label) for role in grantable],
        "form": form if grantable else None,
        "invitations": invitations.pending(request.team).select_related("invited_by").order_by("-created_at")
        if grantable
        else [],
        "link": link,
    }
    return render(request, "tenants/people.html", context, status=status)


@require_POST
@requires(Permission.INVITE)
def invite(request: TeamRequest) -> HttpResponse:
    """Make an invitation; its link is shown in this answer only."""
    form = InviteForm(request.POST, roles=members.grantable(request.membership))
    if not form.is_valid():
        return _people(request, form, status=422)
    _, link = invitations.invite(
        role=form.cleaned_data["role"], email=form.cleaned_data["email"], by=request.membership
    )
    return _people(request, InviteForm(roles=members.grantable(request.membership)), link=link)


@require_POST
@requires(Permission.INVITE)
def revoke(request: TeamRequest, invitation: UUID) -> HttpResponse:
    """Take an invitation back."""
    found = get_object_or_404(Invitation, pk=invitation, team=request.team)
    if invitations.revoke(found):
        messages.success(request, "The invitation is taken back; its link works no more.")
    else:
        messages.error(request, "This invitation was accepted or taken back before.")
    return redirect("people")


@require_POST
@requires(Permission.INVITE)
def change_role(request: TeamRequest, member: UUID) -> HttpResponse:
    """Give a member another role."""
    found = get_object_or_404(Membership.objects.select_related("user"), pk=member, team=request.team)
    try:
        role = Role(request.POST.get("role", ""))
    except ValueError:
        messages.error(request, f"Choose one of the roles: {', '.join(Role)}.")
        return redirect("people")
    try:
        members.change_role(found, role, by=request.membership)
        messages.success(request, f"{found.user} is {role.label.lower()} now.")
    except members.NotAllowed as error:
        messages.error(request, str(error))
    return redirect("people")


@require_POST
@requires(Permission.VIEW)
def remove(request: TeamRequest, member: UUID) -> HttpResponse:
    """Remove a member, or leave the team."""
    found = get_object_or_404(Membership.objects.select_related("user"), pk=member, team=request.team)
    try:
        members.remove_member(found, by=request.membership)
    except members.NotAllowed as error:
        messages.error(request, str(error))
        return redirect("people")
    if found.pk == request.membership.pk:
        return HttpResponseRedirect(public_url())
    messages.success(request, f"{found.user} is no member any more.")
    return redirect("people")


@require_safe
@requires(Permission.VIEW)
def roles(request: HttpRequest) -> HttpResponse:
    """What each role may do."""
    context = {"roles": [role.label for role in Role], "table": roles_table()}
    return render(request, "tenants/roles.html", context)
