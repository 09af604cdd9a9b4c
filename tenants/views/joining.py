"""Accepting an invitation."""

from typing import Any

from django.contrib.auth import login
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from tenants import invitations, signup
from tenants.forms import AccountForm
from tenants.hosts import team_url
from tenants.members import NotAllowed
from tenants.models import Invitation
from tenants.roles import MAY, Permission, Role


@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def join(request: HttpRequest, secret: str) -> HttpResponse:
    """The team and role that are offered; accepts with the account that is signed in, or with a new one."""
    invitation = invitations.find(secret)
    if invitation is None:
        return render(request, "tenants/join_gone.html", status=410)
    form, problem = None, ""
    if not request.user.is_authenticated:
        form = AccountForm(request.POST or None, initial={"email": invitation.email})
        if invitation.email:
            form.fields["email"].widget.attrs["readonly"] = True
    if request.method == "POST":
        try:
            if _accept(request, invitation, form):
                return HttpResponseRedirect(team_url(invitation.team))
        except NotAllowed as error:
            problem = str(error)
        except signup.MailTaken as error:
            assert form is not None
            form.add_error("email", str(error))
    context: dict[str, Any] = {
        "invitation": invitation,
        "role": Role(invitation.role).label,
        "allows": [permission.words for permission in Permission if permission in MAY[Role(invitation.role)]],
        "form": form,
        "problem": problem,
    }
    return render(request, "tenants/join.html", context, status=422 if problem or (form and form.errors) else 200)


def _accept(request: HttpRequest, invitation: Invitation, form: AccountForm | None) -> bool:
    if form is None:
        invitations.accept(invitation, request.user)  # type: ignore[arg-type]
        return True
    if not form.is_valid():
        return False
    with transaction.atomic():
        user = signup.new_user(**form.cleaned_data)
        invitations.accept(invitation, user)
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return True
