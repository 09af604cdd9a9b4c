"""Signing in and out."""

from django.contrib import messages
from django.contrib.auth import logout as end_session
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from tenants import signin
from tenants.forms import SignInForm
from tenants.hosts import public_url, safe_next, team_url


@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "POST"])
def login(request: HttpRequest) -> HttpResponse:
    """Mail address and password; goes on to `next` when that is one of our addresses."""
    if request.method == "GET" and request.user.is_authenticated:
        return HttpResponseRedirect(safe_next(request.GET.get("next", "")))
    form = SignInForm(request.POST or None, initial={"next": request.GET.get("next", "")})
    status = 200
    if form.is_valid():
        try:
            signin.by_password(request, form.cleaned_data["email"], form.cleaned_data["password"])
            return HttpResponseRedirect(safe_next(form.cleaned_data["next"]))
        except signin.TooManyTries:
            minutes = int(signin.WINDOW.total_seconds() // 60)
            form.add_error(None, f"Too many wrong passwords. Wait {minutes} minutes, then try again.")
            status = 429
        except signin.WrongPassword:
            form.add_error("password", "Mail address and password do not match.")
    if form.errors and status == 200:
        status = 422
    return render(request, "tenants/login.html", {"form": form}, status=status)


@require_POST
def logout(request: HttpRequest) -> HttpResponse:
    """End the session on all hosts."""
    end_session(request)
    return HttpResponseRedirect(public_url())


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def one_time(request: HttpRequest, secret: str) -> HttpResponse:
    """A sign-in link. Looking at it spends nothing, since mail programs and chats look too; its button does."""
    token = signin.link_token(secret)
    if request.method == "POST":
        spent = signin.by_link(request, secret)
        if spent is not None:
            return HttpResponseRedirect(team_url(spent.team) if spent.team else public_url())
        token = None
    if token is None:
        messages.error(request, "This link was used already or is too old. Ask for a new one, or sign in here.")
        return HttpResponseRedirect(public_url("/login/"))
    return render(request, "tenants/one_time.html", {"person": token.user, "to": token.team})
