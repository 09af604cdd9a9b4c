from collections.abc import Collection
from uuid import UUID

from django.apps import AppConfig
from django.http import HttpRequest


class SwarmsConfig(AppConfig):
    name = "swarms"
    label = "swarms"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from agents import ports
        from sessions import renderers, topics
        from sessions.webhooks import choice
        from swarms import checks, hints
        from swarms.models import Project, Swarm
        from swarms.settlement import FOLLOWS, Settlement
        from swarms.showing import SwarmPages
        from swarms.verify import metrics
        from tenants.hints import room_on_a_runner
        from tenants.page import badges

        ports.bind(Settlement())
        checks.bind(FOLLOWS)
        room_on_a_runner.connect(lambda **kwargs: hints.dispatch(), weak=False, dispatch_uid="swarms.dispatch")
        badges["approvals"] = waiting
        badges["settings"] = troubles
        metrics.register()
        renderers.register("swarm", SwarmPages())
        topics.register("project", lambda pk: Project.objects.filter(pk=pk).exists())
        choice.register(projects_of)
        topics.register("swarm", lambda pk: Swarm.objects.filter(pk=pk).exists())


def waiting(request: HttpRequest) -> int:
    """How many approvals wait for a person."""
    from swarms.models import Approval

    return Approval.objects.filter(state="pending").count()


def troubles(request: HttpRequest) -> int:
    """How many webhooks want a look of somebody who may give them one."""
    from sessions.webhooks import endpoints
    from tenants.roles import Permission, may

    member = getattr(request, "membership", None)
    return endpoints.needing_attention() if member and may(member.role, Permission.CONNECT) else 0


def projects_of(subjects: Collection[str]) -> dict[str, UUID]:
    """The project of each subject of events that belongs to one."""
    from swarms.models import Swarm

    found = {name: UUID(name.removeprefix("project:")) for name in subjects if name.startswith("project:")}
    keys = [name.removeprefix("swarm:") for name in subjects if name.startswith("swarm:")]
    rows = Swarm.objects.filter(pk__in=keys).values_list("pk", "project") if keys else ()
    return found | {f"swarm:{pk}": project for pk, project in rows}
