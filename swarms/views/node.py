"""A node's page: its attempts, what was said, what was changed, how it was proven."""

from typing import Any

from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from agents.contracts.plan import EdgeCondition
from agents.conversing import panel
from sessions import fragments
from swarms import answering, artifacts, board, conditions, diffs, operations
from swarms.forms import PriorityForm
from swarms.models import Attempt, Node, Swarm
from swarms.views.found import node_of, swarm_of
from swarms.workspace import repos
from swarms.workspace.git import GitError


@require_GET
def node(request: HttpRequest, slug: str, number: int, key: str) -> HttpResponse:
    """Everything about a node; ?attempt=2 shows an earlier attempt."""
    position = board.position()
    swarm = swarm_of(slug, number)
    context = node_context(swarm, node_of(swarm, key), request.GET.get("attempt", ""))
    if attempt := context["attempt"]:
        session = attempt.execution.session if attempt.execution else None
        if session is not None:
            context |= {"page": fragments.page(session)} | panel(session)
    return render(request, "swarms/node.html", context | {"position": position})


@require_GET
def state(request: HttpRequest, slug: str, number: int, key: str) -> HttpResponse:
    """The live part of a node's page."""
    swarm = swarm_of(slug, number)
    context = node_context(swarm, node_of(swarm, key), request.GET.get("attempt", ""))
    attempt = context["attempt"]
    if attempt and attempt.execution and "shown" in request.GET:
        # The page has the transcript of the attempt that was the last one when it was made.
        context["is_newer"] = str(attempt.execution.session_id) != request.GET["shown"]
    return render(request, "swarms/_node_state.html", context)


@require_GET
def aside(request: HttpRequest, slug: str, number: int, key: str) -> HttpResponse:
    """What is beside a node's attempts: its instructions, its place in the plan, its priority."""
    swarm = swarm_of(slug, number)
    context = node_context(swarm, node_of(swarm, key), request.GET.get("attempt", ""))
    return render(request, "swarms/_node_aside.html", context)


def node_context(swarm: Swarm, node: Node, wanted: str) -> dict[str, Any]:
    """What a node's page shows beside the transcript. Raises Http404 when there is no such attempt."""
    tries = list(node.attempts.select_related("execution__session", "merge").order_by("number"))
    attempt = tries[-1] if tries else None
    if wanted:
        attempt = next((one for one in tries if str(one.number) == wanted), None)
        if attempt is None:
            raise Http404("no such attempt")
    last = tries[-1] if tries else None
    return {
        "swarm": swarm,
        "node": node,
        "priority_form": PriorityForm(initial={"priority": node.priority}),
        "look": board.node_look(node, last),
        "can": operations.possible_for(node),
        "conditions": conditions.of_nodes(swarm, [node]).get(node.pk, []),
        "parents": Node.objects.filter(edges_out__child=node).order_by("key"),
        "children": Node.objects.filter(edges_in__parent=node).order_by("key"),
        "when": [
            f"{parent}: {EdgeCondition(parent=parent, **found).told}"
            for parent, found in node.edges_in.order_by("parent__key").values_list("parent__key", "condition")
            if found
        ],
        "asked": answering.asked(node),
        "asks": list(node.approvals.filter(state="pending")),
        "attempts": tries,
        "attempt": attempt,
        "is_last": attempt == last,
    } | (_work(swarm, attempt) if attempt else {})


def _work(swarm: Swarm, attempt: Attempt) -> dict[str, Any]:
    found: dict[str, Any] = {
        "merge": getattr(attempt, "merge", None),
        "runs": list(attempt.check_runs.order_by("created_at")),
        "briefing": fragments.markdown(str(attempt.execution.assignment.get("briefing", "")))
        if attempt.execution
        else "",
        "evidence": fragments.markdown(attempt.evidence) if attempt.evidence else "",
        "artifacts": artifacts.of_session(attempt.execution.session) if attempt.execution else [],
        "summary": fragments.markdown(attempt.summary) if attempt.summary else "",
    }
    if attempt.commit:
        try:
            found["files"] = diffs.parse(repos.diff(swarm.project, attempt.base_commit, attempt.commit))
        except (GitError, ValidationError) as error:
            found["diff_error"] = str(error)
    return found
