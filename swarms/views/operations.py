"""What a person may do to a live swarm and its nodes: every button is a POST, and what is not possible is said."""

from collections.abc import Callable

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from swarms import operations, rollback
from swarms.forms import DeadlineForm, PriorityForm
from swarms.models import Approval, Node, Swarm
from swarms.views.found import node_of, swarm_of
from tenants.access import TeamRequest, requires
from tenants.models import User
from tenants.roles import Permission


@require_POST
@requires(Permission.STATE_GOAL)
def pause(request: TeamRequest, slug: str, number: int) -> HttpResponse:
    """Let nothing new start."""
    return _order(request, slug, number, operations.pause)


@require_POST
@requires(Permission.STATE_GOAL)
def resume(request: TeamRequest, slug: str, number: int) -> HttpResponse:
    """Go on."""
    return _order(request, slug, number, operations.resume)


@require_POST
@requires(Permission.STATE_GOAL)
def drain(request: TeamRequest, slug: str, number: int) -> HttpResponse:
    """End what runs, leave out the rest, land what is merged."""
    return _order(request, slug, number, operations.drain)


@require_POST
@requires(Permission.STATE_GOAL)
def cancel(request: TeamRequest, slug: str, number: int) -> HttpResponse:
    """Stop everything."""
    return _order(request, slug, number, operations.cancel)


@require_POST
@requires(Permission.STATE_GOAL)
def retry(request: TeamRequest, slug: str, number: int) -> HttpResponse:
    """Try a failed swarm again."""
    return _order(request, slug, number, operations.retry_swarm)


@require_POST
@requires(Permission.STATE_GOAL)
def roll_back(request: TeamRequest, slug: str, number: int) -> HttpResponse:
    """Undo what a swarm has done, once somebody has approved it."""
    found = swarm_of(slug, number)
    asked: list[Approval | None] = []
    if _try(request, lambda: asked.append(rollback.request(found, by=request.user))) and asked[0]:
        return redirect("approval", pk=asked[0].pk)
    return redirect("swarm", slug=slug, number=number)


def _order(request: TeamRequest, slug: str, number: int, verb: Callable[..., None]) -> HttpResponse:
    """An order for a swarm, with the reason that was given."""
    because = request.POST.get("because", "")
    return act(request, slug, number, lambda swarm, by: verb(swarm, by=by, because=because))


def act(request: TeamRequest, slug: str, number: int, verb: Callable[[Swarm, User], object]) -> HttpResponse:
    """Do it to a swarm, and go back to its page."""
    found = swarm_of(slug, number)
    _try(request, lambda: verb(found, request.user))
    return redirect("swarm", slug=slug, number=number)


def _try(request: HttpRequest, verb: Callable[[], object]) -> bool:
    try:
        verb()
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
        return False
    return True


@require_GET
def turn(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """A swarm's priority and deadline, with the forms to change them for those who may."""
    found = swarm_of(slug, number)
    return _turn(request, found, PriorityForm(initial={"priority": found.priority}), _deadline_form(found))


def _deadline_form(swarm: Swarm) -> DeadlineForm:
    return DeadlineForm(initial={"at": swarm.deadline_at})


def _turn(
    request: HttpRequest, swarm: Swarm, priority: PriorityForm, deadline: DeadlineForm, status: int = 200
) -> HttpResponse:
    context = {"swarm": swarm, "priority_form": priority, "deadline_form": deadline}
    return render(request, "swarms/turn.html", context, status=status)


@require_POST
@requires(Permission.STATE_GOAL)
def priority(request: TeamRequest, slug: str, number: int) -> HttpResponse:
    """Let a swarm go before others, or after them."""
    found = swarm_of(slug, number)
    form = PriorityForm(request.POST)
    if not form.is_valid():
        return _turn(request, found, form, _deadline_form(found), status=422)
    wanted = form.cleaned_data["priority"]
    if _try(request, lambda: operations.set_priority(found, wanted, by=request.user)):
        messages.success(request, f"The swarm has priority {wanted}.")
    return redirect("swarm", slug=slug, number=number)


@require_POST
@requires(Permission.STATE_GOAL)
def deadline(request: TeamRequest, slug: str, number: int) -> HttpResponse:
    """Say until when a swarm must have ended, or take its deadline away."""
    found = swarm_of(slug, number)
    form = DeadlineForm(request.POST)
    if form.is_valid():
        at = form.cleaned_data["at"]
        try:
            operations.set_deadline(found, at, by=request.user)
        except operations.NotNow as error:
            messages.error(request, " ".join(error.messages))
            return redirect("swarm", slug=slug, number=number)
        except ValidationError as error:
            form.add_error("at", error.messages[0])
        else:
            messages.success(request, "The deadline is set." if at else "The swarm has no deadline any more.")
            return redirect("swarm", slug=slug, number=number)
    return _turn(request, found, PriorityForm(initial={"priority": found.priority}), form, status=422)


@require_POST
@requires(Permission.STATE_GOAL)
def node_skip(request: TeamRequest, slug: str, number: int, key: str) -> HttpResponse:
    """Leave a node out."""
    return _act_on(request, slug, number, key, operations.skip)


@require_POST
@requires(Permission.STATE_GOAL)
def node_retry(request: TeamRequest, slug: str, number: int, key: str) -> HttpResponse:
    """Try a node again."""
    return _act_on(request, slug, number, key, operations.retry_node)


@require_POST
@requires(Permission.STATE_GOAL)
def node_priority(request: TeamRequest, slug: str, number: int, key: str) -> HttpResponse:
    """Let a node go before others of its swarm, or after them."""
    found = node_of(swarm_of(slug, number), key)
    form = PriorityForm(request.POST)
    if not form.is_valid():
        messages.error(request, str(form["priority"].errors[0]))
        return redirect("node", slug=slug, number=number, key=key)
    wanted = form.cleaned_data["priority"]
    return _done(request, found, lambda: operations.set_priority(found, wanted, by=request.user))


def _act_on(request: TeamRequest, slug: str, number: int, key: str, verb: Callable[..., None]) -> HttpResponse:
    found = node_of(swarm_of(slug, number), key)
    because = request.POST.get("because", "")
    return _done(request, found, lambda: verb(found, by=request.user, because=because))


def _done(request: TeamRequest, node: Node, verb: Callable[[], object]) -> HttpResponse:
    _try(request, verb)
    return redirect("node", slug=node.swarm.project.slug, number=node.swarm.number, key=node.key)
