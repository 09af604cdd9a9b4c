"""Events of the past for members' programs: by pages, the oldest first, in the words of the live stream."""

from django.http import HttpResponse

from sessions import frames, topics
from sessions.models import Event
from swarms.api.programs import Refused, program
from tenants.access import TeamRequest
from tenants.roles import Permission

USUAL, MOST = 500, 1000
"""Events of one answer."""
LONGEST = 8 << 20
"""Characters of one answer, but for its last event."""


@program("GET", Permission.VIEW)
def events(request: TeamRequest) -> HttpResponse:
    """Events of these topics after a position in the team's stream: ?topic=swarm:<uuid>&after=0&limit=500."""
    try:
        wanted = topics.parse(request.GET.getlist("topic"))
    except topics.UnknownTopic:
        raise Refused(404, "not found") from None
    if topics.missing(wanted):
        raise Refused(404, "not found")
    after, limit = _number(request, "after", 0), min(MOST, max(1, _number(request, "limit", USUAL)))
    # What has no position yet is about to be told by the stream.
    found = Event.objects.filter(topics.about(wanted), position__gt=after).order_by("position")[: limit + 1]
    told: list[str] = []
    size = 0
    for event in found.iterator(chunk_size=100):
        if len(told) == limit or size > LONGEST:
            return _page(told, after)
        told.append(frames.told(event))
        size, after = size + len(told[-1]), event.position or after
    return _page(told, None)


def _page(told: list[str], after: int | None) -> HttpResponse:
    rest = "null" if after is None else f'{{"after":{after}}}'
    return HttpResponse(f'{{"events":[{",".join(told)}],"next":{rest}}}', content_type="application/json")


def _number(request: TeamRequest, name: str, usual: int) -> int:
    text = request.GET.get(name, str(usual))
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Refused(422, f"{name} is a number, 0 or more.")
    return int(text)
