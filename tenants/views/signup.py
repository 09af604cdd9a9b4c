"""Sign-up: an account and its team, or one more team for who is signed in."""

from django.conf import settings
from django.contrib.auth import login
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from tenants import signup as signups
from tenants.forms import SignUpForm, TeamForm
from tenants.models import Team, User


@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "POST"])
def signup(request: HttpRequest) -> HttpResponse:
    """The form, and what it makes: user, team, domain, owner. Leads to the page that shows the team's making."""
    form_class = TeamForm if request.user.is_authenticated else SignUpForm
    form = form_class(request.POST or None, host=settings.WAGGLE_HOST)
    if form.is_valid():
        try:
            user, team = _make(request, form)
        except signups.AddressTaken:
            form.refuse_address(form.cleaned_data["address"])
        except signups.MailTaken as error:
            form.add_error("email", str(error))
        else:
            if not request.user.is_authenticated:
                login(request, user, backend="django.contrib.auth.backends.ModelBackend")
            return HttpResponseRedirect(reverse("preparing", args=[team.pk]))
    return render(request, "tenants/signup.html", {"form": form}, status=422 if form.errors else 200)


def _make(request: HttpRequest, form: TeamForm) -> tuple[User, Team]:
    data = form.cleaned_data
    with transaction.atomic():
        if request.user.is_authenticated:
            user = request.user
        else:
            user = signups.new_user(email=data["email"], password=data["password"], name=data["name"])
        return user, signups.sign_up_team(name=data["team_name"], slug=data["address"], owner=user)
