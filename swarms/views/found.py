"""Objects named by an address; what the team does not have answers 404."""

from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.utils.http import url_has_allowed_host_and_scheme

from swarms.models import Node, Project, Swarm


def project_of(slug: str) -> Project:
    """A project of this team."""
    return get_object_or_404(Project, slug=slug)


def swarm_of(slug: str, number: int) -> Swarm:
    """A swarm of this team, with its project and goal."""
    return get_object_or_404(Swarm.objects.select_related("project", "goal"), project__slug=slug, number=number)


def node_of(swarm: Swarm, key: str) -> Node:
    """A node of a swarm."""
    node = get_object_or_404(Node, swarm=swarm, key=key)
    node.swarm = swarm
    return node


def before(request: HttpRequest) -> UUID | None:
    """The last row that the reader of a list knows: ?before=<its id>."""
    text = request.GET.get("before", "")
    try:
        return UUID(text) if text else None
    except ValueError:
        raise Http404("not the id of a row") from None


def back(request: HttpRequest, default: str) -> HttpResponseRedirect:
    """To the page that the form names, if it is one of ours."""
    wanted = request.POST.get("next", "")
    safe = wanted.startswith("/") and url_has_allowed_host_and_scheme(wanted, allowed_hosts=None)
    return HttpResponseRedirect(wanted if safe else default)
