"""Pages of what must be done."""

from django.urls import path

from swarms.views import approvals, budgets, decisions, home, imported, node, operations, plan, projects, swarm

_SWARM = "projects/<slug:slug>/swarms/<int:number>/"
_NODE = f"{_SWARM}nodes/<slug:key>/"

urlpatterns = [
    path("", home.home, name="home"),
    path("now/", home.home_now, name="home-now"),
    path("projects/", projects.projects, name="projects"),
    path("projects/new/", projects.new_project, name="project-new"),
    path("projects/<slug:slug>/", projects.project, name="project"),
    path("projects/<slug:slug>/state/", projects.project_state, name="project-state"),
    path("projects/<slug:slug>/rows/", projects.project_rows, name="project-rows"),
    path("projects/<slug:slug>/sessions/", imported.sessions, name="project-sessions"),
    path("projects/<slug:slug>/limits/", projects.limits, name="project-limits"),
    path("projects/<slug:slug>/refetch/", projects.refetch, name="project-refetch"),
    path("projects/<slug:slug>/goals/", projects.state_goal, name="goal-new"),
    path(_SWARM, swarm.swarm, name="swarm"),
    path(f"{_SWARM}regions/<slug:name>/", swarm.region, name="swarm-region"),
    path(f"{_SWARM}feed/", swarm.feed, name="swarm-feed"),
    path(f"{_SWARM}plan.yaml", swarm.plan_yaml, name="plan-yaml"),
    path(f"{_SWARM}plan/", swarm.give_plan, name="plan-give"),
    path(f"{_SWARM}plan/again/", swarm.plan_again, name="plan-again"),
    path(f"{_SWARM}plan/change/", plan.change, name="plan-change"),
    path(f"{_SWARM}plan/ask/", plan.ask, name="plan-ask"),
    path(f"{_SWARM}pause/", operations.pause, name="swarm-pause"),
    path(f"{_SWARM}resume/", operations.resume, name="swarm-resume"),
    path(f"{_SWARM}drain/", operations.drain, name="swarm-drain"),
    path(f"{_SWARM}cancel/", operations.cancel, name="swarm-cancel"),
    path(f"{_SWARM}retry/", operations.retry, name="swarm-retry"),
    path(f"{_SWARM}rollback/", operations.roll_back, name="swarm-rollback"),
    path(f"{_SWARM}turn/", operations.turn, name="swarm-turn"),
    path(f"{_SWARM}turn/priority/", operations.priority, name="swarm-priority"),
    path(f"{_SWARM}turn/deadline/", operations.deadline, name="swarm-deadline"),
    path(_NODE, node.node, name="node"),
    path(f"{_NODE}state/", node.state, name="node-state"),
    path(f"{_NODE}skip/", operations.node_skip, name="node-skip"),
    path(f"{_NODE}retry/", operations.node_retry, name="node-retry"),
    path(f"{_NODE}priority/", operations.node_priority, name="node-priority"),
    path("budgets/", budgets.team, name="budgets"),
    path("projects/<slug:slug>/budget/", budgets.project, name="project-budget"),
    path(f"{_SWARM}budget/", budgets.swarm, name="swarm-budget"),
    path(f"{_NODE}budget/", budgets.node, name="node-budget"),
    path("swarms/", home.swarms, name="swarms"),
    path("decisions/", decisions.decisions, name="decisions"),
    path("approvals/", approvals.approvals, name="approvals"),
    path("approvals/<uuid:pk>/", approvals.approval, name="approval"),
    path("approvals/<uuid:pk>/decide/", approvals.decide, name="approval-decide"),
]
