"""Below /t/<team>/: for runners and agents, and for members' programs."""

from django.urls import path

from swarms.api import (
    approvals,
    artifacts,
    budgets,
    decisions,
    events,
    git,
    goals,
    replay,
    rules,
    runner,
    sessions,
    swarms,
)

_SWARM = "api/v1/swarms/<uuid:swarm>/"

urlpatterns = [
    path("runner/<uuid:execution>/records", runner.records),
    path("runner/<uuid:execution>/outcome", runner.outcome),
    path("runner/<uuid:execution>/permission", runner.permission),
    path("runner/<uuid:execution>/artifacts", artifacts.bring),
    path("git/<uuid:project>.git/<path:rest>", git.git),
    path("api/v1/projects/<slug:slug>/goals", goals.state),
    path("api/v1/projects/<slug:slug>/swarms/<int:number>", swarms.numbered),
    path("api/v1/swarms", swarms.swarms),
    path("api/v1/budgets", budgets.listed),
    path("api/v1/budgets/set", budgets.put),
    path("api/v1/rules", rules.rules),
    path("api/v1/rules/add", rules.add),
    path("api/v1/rules/try", rules.attempt),
    path("api/v1/rules/<uuid:rule>/<slug:verb>", rules.act),
    path("api/v1/approvals", approvals.approvals),
    path("api/v1/approvals/<uuid:approval>", approvals.approval),
    path("api/v1/approvals/<uuid:approval>/approve", approvals.approve),
    path("api/v1/approvals/<uuid:approval>/reject", approvals.reject),
    path("api/v1/decisions", decisions.decisions),
    path("api/v1/events", events.events),
    path("api/v1/sessions/<uuid:session>", sessions.session),
    path("api/v1/sessions/<uuid:session>/questions/<uuid:question>/answer", sessions.answer),
    path("api/v1/sessions/<uuid:session>/<slug:verb>", sessions.act),
    path(f"{_SWARM}sessions", sessions.of_swarm),
    path(_SWARM.rstrip("/"), swarms.swarm),
    path(f"{_SWARM}nodes", swarms.nodes),
    path(f"{_SWARM}plan", swarms.plan),
    path("api/v1/artifacts/<uuid:artifact>", artifacts.take, name="api-artifact"),
    path(f"{_SWARM}artifacts", artifacts.of_swarm),
    path(f"{_SWARM}replay", replay.scene),
    path(f"{_SWARM}fork/<int:at>", replay.rest),
    path(f"{_SWARM}fork", replay.fork),
    path(f"{_SWARM}nodes/<slug:key>/<slug:verb>", swarms.act_on),
    path(f"{_SWARM}<slug:verb>", swarms.act),
]
