"""Goals stated by members' programs, each once, however often the request comes."""

from django.db import connection, transaction
from django.http import JsonResponse
from django.shortcuts import get_object_or_404

from swarms import goals
from swarms.api.programs import Given, Refused, body_of, program
from swarms.models import Goal, Project, Swarm
from tenants.access import TeamRequest
from tenants.models import User
from tenants.roles import Permission

LONGEST_KEY = 200


class GivenGoal(Given):
    """What is wanted, in words."""

    text: str


@program("POST", Permission.STATE_GOAL)
def state(request: TeamRequest, slug: str) -> JsonResponse:
    """State a goal. The same `Idempotency-Key` gives the same swarm and the same answer."""
    project = get_object_or_404(Project, slug=slug)
    text = body_of(request, GivenGoal).text
    key = request.headers.get("Idempotency-Key", "")
    if len(key) > LONGEST_KEY or not key.isprintable():
        raise Refused(422, f"Idempotency-Key: at most {LONGEST_KEY} printable characters.")
    swarm = _once(project, text, key, by=request.user) if key else goals.state_goal(project, text, by=request.user)
    # Only what stays as it is: the answer must be the same when the request comes again.
    answer = {"id": swarm.pk, "project": slug, "number": swarm.number, "title": swarm.goal.title}
    return JsonResponse(answer, status=201)


@transaction.atomic
def _once(project: Project, text: str, key: str, *, by: User) -> Swarm:
    """The swarm of this key; requests with the same key that come at once wait for each other here."""
    with connection.cursor() as cursor:
        # No row's lock: stating a goal takes those of share and project, in this order.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"goal {project.pk} {key}"])
    known = Goal.objects.select_related("swarm").filter(project=project, once_key=key).first()
    if known is None:
        swarm = goals.state_goal(project, text, by=by)
        Goal.objects.filter(pk=swarm.goal_id).update(once_key=key)
        return swarm
    if known.text != text:
        raise Refused(422, f"Idempotency-Key: it stands for goal #{known.number} already, which has another text.")
    return known.swarm
