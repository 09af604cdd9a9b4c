"""What must hold of a team's rows at any moment, whoever was killed; and what must hold besides when all is quiet."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from django.db.models import Count, Max, Min

from agents.models import Execution
from agents.states import LIVE
from sessions.models import Event, Subject
from swarms.models import Approval, Attempt, CheckRun, Condition, Edge, Merge, Node, Plan, Swarm
from swarms.states import ATTEMPT_ENDED, NODE_LIVE, SWARM_ENDED, NodeState
from swarms.workspace import repos
from tenants.context import in_schema
from tenants.models import Due, Placement, Team, Ticket, Token

MOVABLE: tuple[Any, ...] = (Swarm, Plan, Node, Attempt, CheckRun, Merge, Approval, Execution)
WAITS = (NodeState.BLOCKED, NodeState.AWAITING_APPROVAL, NodeState.READY)


def violations(schema: str, *, quiet: bool = False) -> list[str]:
    """Everything that is wrong in one team, in words; empty when all is well.

    `quiet` says that no hint and no due row waits any more: then nothing may be left over either.
    """
    with in_schema(schema):
        found = [*_attempts(), *_nodes(), *_events(), *_states(), *_executions(), *_ended(), *_git()]
        return found + list(_leftovers(schema)) if quiet else found


def _attempts() -> Iterator[str]:
    live = Attempt.objects.exclude(state__in=ATTEMPT_ENDED).values("node").annotate(n=Count("pk")).filter(n__gt=1)
    yield from (f"node {row['node']} has {row['n']} live attempts" for row in live)
    numbers = defaultdict(list)
    for node, number in Attempt.objects.order_by("number").values_list("node", "number"):
        numbers[node].append(number)
    for node in Node.objects.all():
        if numbers[node.pk] != list(range(1, node.attempts_made + 1)):
            yield f"{node}: attempts {numbers[node.pk]}, but {node.attempts_made} were made"
    for edge in Edge.objects.select_related("parent", "child"):
        first = edge.child.attempts.aggregate(at=Min("created_at"))["at"]
        if first and (edge.parent.ended_at is None or first < edge.parent.ended_at):
            yield f"{edge.child} began at {first}, before {edge.parent} succeeded at {edge.parent.ended_at}"


def _nodes() -> Iterator[str]:
    working = set(Execution.objects.filter(state__in=LIVE).values_list("subject", flat=True))
    for node in Node.objects.annotate(n=Count("attempts")):
        states = list(node.attempts.values_list("state", flat=True))
        if (node.state == NodeState.RUNNING) != (f"node:{node.pk}" in working):
            yield f"{node} is {node.state}, and its execution is {'' if node.state != 'running' else 'not '}live"
        if (node.state in NODE_LIVE) != (bool(set(states) - ATTEMPT_ENDED)):
            yield f"{node} is {node.state}, and its attempts are {states}"
        if states.count("succeeded") != (node.state == NodeState.SUCCEEDED):
            yield f"{node} is {node.state} with {states.count('succeeded')} successes"
        if node.state == NodeState.VERIFYING and not _checked(node):
            yield f"{node} is verifying, and nothing is checked for it"
        if node.state == NodeState.MERGING and not Merge.objects.filter(
            attempt__node=node, state__in=["queued", "checking"]
        ):
            yield f"{node} is merging, and not in the queue"
        open_parents = node.edges_in.exclude(parent__state=NodeState.SUCCEEDED).count()
        if node.state == NodeState.BLOCKED and node.deps_left != open_parents:
            yield f"{node} counts {node.deps_left} open parents of {open_parents}"
    for entry in Merge.objects.filter(state="checking"):
        if not entry.check_runs.filter(state__in=["waiting", "running"]).exists():
            yield f"merge {entry.pk} waits for checks that nobody runs"
    for row in Condition.objects.exclude(node__state__in=WAITS).select_related("node"):
        yield f"{row.node} is {row.node.state} and still {row.text}"


def _checked(node: Node) -> bool:
    return CheckRun.objects.filter(attempt__node=node, purpose="exact", state__in=["waiting", "running"]).exists()


def _events() -> Iterator[str]:
    counted = {
        row["subject"]: (row["n"], row["first"], row["last"])
        for row in Event.objects.values("subject").annotate(n=Count("pk"), first=Min("seq"), last=Max("seq"))
    }
    for subject in Subject.objects.all():
        n, first, last = counted.pop(subject.name, (0, 1, 0))
        if (first, last) != (1, n) or subject.last_seq != last:
            yield f"{subject.name}: {n} events numbered {first} to {last}, and the counter is at {subject.last_seq}"
    yield from (f"events of {name} without a counter" for name in counted)


def _states() -> Iterator[str]:
    """A row is where its last event says, and each event begins where the one before ended."""
    moves: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for kind, payload in Event.objects.filter(kind__endswith=".moved").order_by("seq").values_list("kind", "payload"):
        for one in payload.get("moves", [payload | {"noun": kind.removesuffix(".moved")}]):
            moves[one["noun"], one["id"]].append((one["before"], one["after"]))
    for model in MOVABLE:
        start = model._meta.get_field("state").default
        for row in model.objects.all():
            at = str(start)
            for before, after in moves[model.NOUN, str(row.pk)]:
                if before != at:
                    yield f"{model.NOUN} {row}: an event moves it from {before}, but it was {at}"
                at = after
            if row.state != at:
                yield f"{model.NOUN} {row} is {row.state}, and its events say {at}"


def _executions() -> Iterator[str]:
    live = set(Execution.objects.filter(state__in=LIVE).values_list("pk", flat=True))
    every = set(Execution.objects.values_list("pk", flat=True))
    placed = set(Placement.objects.values_list("execution", flat=True)) & every
    due = set(Due.objects.filter(kind="lease").values_list("subject", flat=True)) & every
    yield from (f"execution {pk} is live and placed nowhere" for pk in live - placed)
    yield from (f"execution {pk} has ended and still holds a place" for pk in placed - live)
    yield from (f"execution {pk} is live and nobody watches its lease" for pk in live - due)
    yield from (f"execution {pk} has ended and its lease is still due" for pk in due - live)
    names = {f"execution:{pk}" for pk in every - live}
    for token in Token.objects.filter(kind="attempt", revoked_at=None, subject__in=names):
        yield f"the token of {token.subject} outlived it"
    for run in CheckRun.objects.filter(state="running"):
        if not Execution.objects.filter(subject=f"checks:{run.pk}", state__in=LIVE).exists():
            yield f"check run {run.pk} is running and nobody runs it"


def _ended() -> Iterator[str]:
    for swarm in Swarm.objects.filter(state__in=SWARM_ENDED):
        open_rows = {
            "node": swarm.nodes.exclude(state__in=["succeeded", "failed", "skipped", "cancelled"]).count(),
            "execution": Execution.objects.filter(swarm=swarm.pk, state__in=LIVE).count(),
            "approval": swarm.approvals.filter(state="pending").count(),
            "merge": swarm.merges.filter(state__in=["queued", "checking"]).count(),
            "plan": swarm.plans.filter(state__in=["drafting", "proposed"]).count(),
        }
        yield from (f"{swarm} is {swarm.state} with {n} open {name}(s)" for name, n in open_rows.items() if n)
        if bool(swarm.landed_commit) != (swarm.state == "succeeded"):
            yield f"{swarm} is {swarm.state}, and its landed commit is {swarm.landed_commit or 'none'}"


def _git() -> Iterator[str]:
    for swarm in Swarm.objects.exclude(integration_commit="").select_related("project"):
        project, head = swarm.project_id, swarm.integration_commit
        if not repos.commit_of(project, head):
            yield f"{swarm}: {head} is not in the repository"
            continue
        for entry in swarm.merges.filter(state="merged"):
            if not repos.is_ancestor(project, entry.commit, head):
                yield f"{swarm}: merged {entry.commit} is not in {head}"
        if swarm.landed_commit and not repos.is_ancestor(project, head, swarm.landed_commit):
            yield f"{swarm}: landed {swarm.landed_commit} without {head}"


def _leftovers(schema: str) -> Iterator[str]:
    team = Team.objects.get(schema_name=schema)
    ended = {swarm.pk: str(swarm) for swarm in Swarm.objects.filter(state__in=SWARM_ENDED)}
    owners: dict[Any, Any] = {pk: pk for pk in ended}
    for model in (Node, Plan, CheckRun, Approval):
        owners |= dict(model._default_manager.filter(swarm__in=ended).values_list("pk", "swarm"))
    yield from _of_ended("a ticket", Ticket.objects.filter(team=team), owners, ended)
    yield from _of_ended("something due", Due.objects.filter(team=team), owners, ended)
    for swarm in Swarm.objects.exclude(state="planning").select_related("project"):
        if not swarm.merges.filter(state="merged").exists():
            continue
        if repos.commit_of(swarm.project_id, f"refs/heads/{swarm.branch}") != swarm.integration_commit:
            yield f"{swarm}: its branch is not at {swarm.integration_commit}"


def _of_ended(what: str, rows: Iterable[Any], owners: dict[Any, Any], ended: dict[Any, str]) -> Iterator[str]:
    yield from (f"{ended[owners[row.subject]]}: {what} ({row.kind})" for row in rows if row.subject in owners)
