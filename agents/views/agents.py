"""Who does the work: agents, runners, what runs on them, and what all of them depend on."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Count, Q
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from agents import breakers_shown, placing, registry
from agents.forms import AgentForm
from agents.models import Agent, Execution
from agents.placement import belongs
from agents.standings import standing
from agents.states import LIVE, AgentState
from sessions.events import acting
from sessions.models import Event, Stream
from tenants.access import TeamRequest, ensure, requires
from tenants.models import Runner
from tenants.roles import Permission

SHOWN = 20


@require_GET
def agents(request: TeamRequest) -> HttpResponse:
    """Agents, runners and live executions."""
    position = Stream.objects.values_list("last_position", flat=True).first() or 0
    return render(request, "agents/agents.html", _context(request) | {"position": position})


@require_GET
def agents_now(request: TeamRequest) -> HttpResponse:
    """The live part of the page."""
    return render(request, "agents/_agents_now.html", _context(request))


def _context(request: TeamRequest) -> dict[str, Any]:
    """The team's agents and runners, the platform's that serve every team, and what all of them depend on."""
    live = Execution.objects.filter(state__in=LIVE).select_related("session", "runner").order_by("created_at")
    rows = list(Agent.objects.order_by("name"))
    schema, models = request.team.schema_name, sorted({row.model for row in rows if row.model})
    return {
        "agents": [(row, sum(belongs(one.agent, row.name) for one in live)) for row in rows],
        "defaults": registry.defaults(),
        "runtime": settings.RUNTIME,
        "model": settings.MODEL_NAME,
        "runners": [(runner, *standing(runner)) for runner in _runners(request)],
        "executions": live,
        "substitutes": breakers_shown.substitutes(schema, models),
        "breakers": [*breakers_shown.lines(schema, models), *breakers_shown.of_servers(schema)],
    }


def _runners(request: TeamRequest) -> list[Runner]:
    ours = Runner.objects.filter(Q(team=request.team) | Q(team=None)).order_by("name")
    return list(
        ours.annotate(busy=Count("placements", filter=Q(placements__team=request.team)), held=Count("placements"))
    )


@require_http_methods(["GET", "POST"])
def new(request: TeamRequest) -> HttpResponse:
    """Another agent; with ?role= it begins as the default of that role."""
    role = request.GET.get("role", "")
    initial = {"name": role, "roles": [role]} if role in placing.ROLES else {}
    form = AgentForm(request.POST if request.method == "POST" else None, initial=initial)
    if request.method == "POST":
        ensure(request, Permission.ENROL)
        if form.is_valid():
            try:
                with acting(f"user:{request.user.pk}"):
                    made = registry.add(form.terms())
            except ValidationError as error:
                form.refuse(error)
            else:
                messages.success(request, f"{made.name} is added, and takes work from now on.")
                return redirect("agent", name=made.name)
    return render(request, "agents/agent_new.html", {"form": form}, status=422 if form.errors else 200)


@require_GET
def agent(request: TeamRequest, name: str) -> HttpResponse:
    """One agent: its terms, what it does, and what happened to it."""
    return _page(request, _found(name))


def _page(request: TeamRequest, agent: Agent, form: AgentForm | None = None) -> HttpResponse:
    mine = Q(kind="agent.moved", payload__id=str(agent.pk)) | Q(kind="agent.changed", payload__agent=agent.name)
    made = Execution.objects.filter(agent__startswith=agent.name).select_related("session", "runner")
    recent = [one for one in made.order_by("-created_at")[: 2 * SHOWN] if belongs(one.agent, agent.name)]
    context = {
        "agent": agent,
        "executions": [one for one in recent if one.is_live],
        "recent": [one for one in recent if not one.is_live][:SHOWN],
        "form": form or AgentForm(initial=AgentForm.initial_of(agent)),
        "events": Event.objects.filter(mine, subject="team").order_by("-seq")[:SHOWN],
        "runtime": settings.RUNTIME,
        "model": settings.MODEL_NAME,
    }
    return render(request, "agents/agent.html", context, status=422 if form else 200)


def _found(name: str) -> Agent:
    return get_object_or_404(Agent, name=name)


@require_POST
@requires(Permission.ENROL)
def change(request: TeamRequest, name: str) -> HttpResponse:
    """Other terms."""
    found, form = _found(name), AgentForm(request.POST)
    if form.is_valid():
        try:
            with acting(f"user:{request.user.pk}"):
                registry.change(found, form.terms())
        except ValidationError as error:
            form.refuse(error)
        else:
            messages.success(request, "Changed, for all that is placed from now on.")
            return redirect("agent", name=found.name)
    return _page(request, _found(name), form)


def _moving(verb: Callable[..., bool], done: str) -> Callable[..., HttpResponseBase]:
    """A view that moves an agent, says what came of it, and shows the agent."""

    @require_POST
    @requires(Permission.ENROL)
    @wraps(verb)
    def view(request: TeamRequest, name: str) -> HttpResponse:
        found = _found(name)
        with acting(f"user:{request.user.pk}"):
            moved = verb(found, because=f"by {request.user}")
        if moved:
            messages.success(request, done.format(name=found.name))
        else:
            messages.info(request, f"{found.name} is {AgentState(found.state)} already.")
        return redirect("agent", name=name)

    return view


drain = _moving(registry.drain, "{name} gets no new work; it finishes what it has.")
enable = _moving(registry.enable, "{name} gets work again.")
disable = _moving(registry.disable, "{name} gets no work; what it had goes to another agent.")


@require_POST
@requires(Permission.ENROL)
def remove(request: TeamRequest, name: str) -> HttpResponse:
    """It is gone."""
    found = _found(name)
    try:
        with acting(f"user:{request.user.pk}"):
            registry.remove(found)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
        return redirect("agent", name=name)
    messages.success(request, f"{name} is removed.")
    return redirect("agents")
