"""A swarm as it was at any of its events: the page with the slider, and what it asks for."""

from tempfile import TemporaryFile
from typing import Any

from django.contrib import messages
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from swarms import board
from swarms.models import Swarm
from swarms.plan_yaml import write_yaml
from swarms.replay import export as exports
from swarms.replay import shown, stories
from swarms.replay.carry import rest
from swarms.replay.checkpoints import scene_at
from swarms.replay.stories import MARKS, Story
from swarms.views.found import swarm_of
from tenants.access import TeamRequest, requires
from tenants.roles import Permission

MOMENTS = 1000
"""Events whose times one answer has."""


def asked(request: HttpRequest, last: int) -> int:
    """The event that the address names, within the story; the first one unless it says so."""
    return min(number(request, "at", 1), last) or 1


def number(request: HttpRequest, name: str, default: int) -> int:
    """A number of the query; the default where there is none."""
    text = request.GET.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else default


def page(
    request: HttpRequest,
    story: Story,
    base: str,
    swarm_page: str,
    template: str = "swarms/_replay_now.html",
    **more: Any,
) -> HttpResponse:
    """What changes from event to event, or with another template the whole page, at the event that is asked for.

    Below `base` are the parts of the replay, below `swarm_page` the nodes.
    """
    last = story.last()
    words = {"base": base, "swarm_page": swarm_page, "marks": MARKS.values()}
    return render(request, template, shown.at(story, asked(request, last), last, swarm_page) | words | more)


def times(request: HttpRequest, story: Story) -> JsonResponse:
    """When the next events after a number happened, in milliseconds, and which is the last of all."""
    moments = story.moments(number(request, "after", 0), MOMENTS)
    told = [[seq, round(at.timestamp() * 1000)] for seq, at in moments]
    return JsonResponse({"last": story.last(), "moments": told})


def jump(request: HttpRequest, story: Story, base: str) -> HttpResponse:
    """To the next or the previous event of a kind: programs of the page are told its number, others are sent there."""
    mark, way = MARKS.get(request.GET.get("to", "decision")), request.GET.get("way", "next")
    if mark is None or way not in ("next", "previous"):
        raise Http404("no such jump")
    here = asked(request, story.last())
    found = story.find(mark, here, backwards=way == "previous")
    says = "" if found else f"There is no {'later' if way == 'next' else 'earlier'} {mark.word}."
    if request.headers.get("HX-Request"):
        return JsonResponse({"at": found, "says": says})
    if says:
        messages.info(request, says)
    return redirect(f"{base}?at={found or here}")


def _base(swarm: Swarm) -> str:
    return reverse("swarm-replay", args=[swarm.project.slug, swarm.number])


@require_GET
def replay(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """The page; ?at=340 opens it at that event."""
    swarm, position = swarm_of(slug, number), board.position()
    words: dict[str, Any] = {"template": "swarms/replay.html", "replayed": swarm, "position": position}
    return page(request, stories.of_swarm(swarm), _base(swarm), reverse("swarm", args=[slug, number]), **words)


@require_GET
def replay_now(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """One position of the slider."""
    swarm = swarm_of(slug, number)
    return page(request, stories.of_swarm(swarm), _base(swarm), reverse("swarm", args=[slug, number]))


@require_GET
def replay_times(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """For playing: when things happened."""
    return times(request, stories.of_swarm(swarm_of(slug, number)))


@require_GET
def replay_jump(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """To the next decision, approval, merge or failure, or to the one before."""
    swarm = swarm_of(slug, number)
    return jump(request, stories.of_swarm(swarm), _base(swarm))


def plan_at(request: HttpRequest, story: Story, base: str, name: str) -> HttpResponse:
    """What was left of the plan at an event, as a file; where there was no plan, back to the replay."""
    at = asked(request, story.last())
    left = rest(scene_at(story, at), story.document)
    if left is None:
        messages.info(request, f"At event {at} there was no plan yet.")
        return redirect(f"{base}?at={at}")
    headers = {"Content-Disposition": f'attachment; filename="{name}-plan-at-{at}.yaml"'}
    text = write_yaml(left.plan.model_dump(mode="json"))
    return HttpResponse(text, content_type="application/yaml", headers=headers)


@require_GET
def replay_plan(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """The rest of the plan at an event."""
    swarm = swarm_of(slug, number)
    return plan_at(request, stories.of_swarm(swarm), _base(swarm), f"{slug}-{number}")


@require_POST
@requires(Permission.EXPORT)
def export(request: TeamRequest, slug: str, number: int) -> HttpResponseBase:
    """The swarm as one file."""
    swarm = swarm_of(slug, number)
    # Whole before the first byte goes out: what cannot be exported is told as such. The answer closes the file.
    file = TemporaryFile()  # noqa: SIM115
    try:
        exports.export(swarm, file)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return FileResponse(file, as_attachment=True, filename=exports.name_of(swarm), content_type="application/zip")
