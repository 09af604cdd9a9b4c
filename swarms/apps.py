from django.apps import AppConfig
from django.http import HttpRequest


class SwarmsConfig(AppConfig):
    name = "swarms"
    label = "swarms"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from agents import ports
        from sessions import renderers, topics
        from swarms import hints
        from swarms.models import Project, Swarm
        from swarms.settlement import Settlement
        from swarms.showing import SwarmPages
        from swarms.verify import metrics
        from tenants.hints import room_on_a_runner
        from tenants.page import badges

        ports.bind(Settlement())
        room_on_a_runner.connect(lambda **kwargs: hints.dispatch(), weak=False, dispatch_uid="swarms.dispatch")
        badges["approvals"] = waiting
        metrics.register()
        renderers.register("swarm", SwarmPages())
        topics.register("project", lambda pk: Project.objects.filter(pk=pk).exists())
        topics.register("swarm", lambda pk: Swarm.objects.filter(pk=pk).exists())


def waiting(request: HttpRequest) -> int:
    """How many approvals wait for a person."""
    from swarms.models import Approval

    return Approval.objects.filter(state="pending").count()
