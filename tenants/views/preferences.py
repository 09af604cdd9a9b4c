"""The team's settings, and the look of this browser's pages."""

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from tenants.access import TeamRequest, requires
from tenants.forms import TeamNameForm, ThemeForm
from tenants.hosts import public_url
from tenants.models import Team
from tenants.page import THEME_COOKIE, theme_of
from tenants.roles import Permission


@require_safe
@requires(Permission.VIEW)
def preferences(request: TeamRequest) -> HttpResponse:
    """All settings."""
    return _page(request, TeamNameForm(initial={"name": request.team.name}))


def _page(request: TeamRequest, name_form: TeamNameForm, status: int = 200) -> HttpResponse:
    theme_form = ThemeForm(initial={"theme": theme_of(request)})
    context = {"name_form": name_form, "theme_form": theme_form, "start_url": public_url("/signup/")}
    return render(request, "tenants/settings.html", context, status=status)


@require_POST
@requires(Permission.ADMINISTER)
def rename(request: TeamRequest) -> HttpResponse:
    """Change the team's name; its address stays."""
    form = TeamNameForm(request.POST)
    if not form.is_valid():
        return _page(request, form, status=422)
    Team.objects.filter(pk=request.team.pk).update(name=form.cleaned_data["name"])
    messages.success(request, "The team has its new name.")
    return redirect("settings")


@require_POST
@requires(Permission.VIEW)
def theme(request: TeamRequest) -> HttpResponse:
    """Remember the look in a cookie for all our hosts."""
    form = ThemeForm(request.POST)
    answer = redirect("settings")
    if form.is_valid():
        answer.set_cookie(
            THEME_COOKIE,
            form.cleaned_data["theme"],
            max_age=365 * 24 * 3600,
            domain=settings.SESSION_COOKIE_DOMAIN,
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=True,
            samesite="Lax",
        )
    else:
        messages.error(request, "Choose one of the looks.")
    return answer
