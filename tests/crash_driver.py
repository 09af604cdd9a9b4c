"""Somebody who uses a platform of real processes: answers a line {"verb": …, "schema": …, …} with another.

A process of its own, because the tests' process has other databases; tests.crash_stage begins it, with Django set up.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import redis
import yaml
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, Q, Sum
from django.db.models.functions import Now

from agents import metering
from agents.contracts import Check
from agents.models import Budget, Execution, ModelCall, ModelPrice
from agents.states import LIVE
from sessions.events import publish
from sessions.models import Event, Webhook
from sessions.topics import stream_key
from sessions.webhooks import endpoints, leases
from swarms import allowances, approvals, goals, operations, projects, rollback, rulebook, toolrules
from swarms.models import Approval, Attempt, Node, Project, Swarm
from swarms.states import SWARM_ENDED
from swarms.verify import registry
from swarms.verify.run import Scope, verify
from swarms.workspace import repos
from swarms.workspace.git import git
from tenants import programs, runners, signup
from tenants.context import PUBLIC, in_schema
from tenants.models import Due, Membership, Outbox, Runner, Team, Ticket, User
from tenants.roles import Role
from tests import invariants
from tests.crash_model import PLAN, TEAM, plan_with

DOLLAR = 1_000_000
PRICE = 100 * DOLLAR
"""Of a million tokens: so much that a call of some hundred tokens costs a visible amount."""
Answer = Any


def team(slug: str, runner: bool = True) -> Answer:
    """A team with its owner, a budget and a price of the model, ready to work; the token of a new runner if wanted."""
    owner = User.objects.create_user(f"owner@{slug}.example", "a long enough password", name="Owner")
    made = signup.make_team(name=slug, slug=slug, owner=owner)
    with in_schema(made.schema_name):
        ModelPrice.objects.create(
            model=settings.MODEL_NAME, input_microusd=PRICE, cached_microusd=PRICE, output_microusd=PRICE
        )
        allowances.set_budget("team", 1000 * DOLLAR, 80, by=None)
    return {"schema": made.schema_name, "runner": runners.register("local") if runner else ""}


def sign_up(slug: str) -> Answer:
    """A team whose schema somebody else must make."""
    owner = User.objects.create_user(f"owner@{slug}.example", "a long enough password", name="Owner")
    return signup.sign_up_team(name=slug, slug=slug, owner=owner).schema_name


def state_of_team(wanted: str) -> Answer:
    """Its state, and how many tables it has."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_tables WHERE schemaname = %s", [wanted])
        return [Team.objects.get(schema_name=wanted).state, cursor.fetchone()[0]]


def project(slug: str, source: str, asks: bool = False) -> Answer:
    """A project with a check, whose repository somebody else must copy; people are asked about plans if `asks`."""
    checks = [Check(name="nothing", command="true")]
    made = projects.add_project(
        name=slug, slug=slug, source=source, checks=checks, approve_plan=asks, approve_landing=False, by=_owner()
    )
    return str(made.pk)


def state_of_project(pk: str) -> Answer:
    """Whether it is copied."""
    return Project.objects.get(pk=pk).state


def state_goal(project: str, plans: bool = True, only: Iterable[str] = ()) -> Answer:
    """State a goal, with its plan (or `only` some nodes of it) unless the coordinator shall make it."""
    wanted = [node for node in PLAN["nodes"] if not only or node["key"] in only]
    plan = PLAN | {"nodes": [node | {"depends_on": []} for node in wanted] if only else wanted}
    with transaction.atomic():
        swarm = goals.state_goal(Project.objects.get(pk=project), "Write a line.", by=_owner())
        if plans:
            goals.give_plan(swarm, yaml.safe_dump(plan), by=_owner())
    return str(swarm.pk)


def state_goal_about(project: str, word: str) -> Answer:
    """State a goal, with its plan, and say something: all with this word. A member's token comes with the swarm."""
    with transaction.atomic():
        swarm = goals.state_goal(Project.objects.get(pk=project), f"Write {word}.", by=_owner())
        goals.give_plan(swarm, yaml.safe_dump(plan_with(word)), by=_owner())
    publish(swarm.topic, "decision.made", by=word, what=f"go on with {word}", why=word)
    member = Membership.objects.select_related("team", "user").get(user=_owner(), team__schema_name=_schema())
    return [str(swarm.pk), programs.issue(member, name="canary", days=1)[1]]


def state_plan(project: str, plan: Any) -> Answer:
    """State a goal, with this plan; before some of its commands people are asked."""
    found = Project.objects.get(pk=project)
    if not rulebook.of_project(found).exists():
        toolrules.make(by=_owner(), project=found, tool="shell", verdict="ask", arguments={"command": "touch asked*"})
    with transaction.atomic():
        swarm = goals.state_goal(found, "Write.", by=_owner())
        goals.give_plan(swarm, yaml.safe_dump(plan), by=_owner())
    return str(swarm.pk)


def works_of(swarm: str) -> Answer:
    """How every attempt of its nodes ended, with the files on its branch."""
    bare = repos.path_of(Swarm.objects.get(pk=swarm).project_id)
    rows = Attempt.objects.filter(node__swarm=swarm).order_by("node__key", "number")
    return [[one.state, git(bare, "ls-tree", "--name-only", one.branch, allow=(0, 128)).stdout.split()] for one in rows]


def where_words_are(words: list[str]) -> Answer:
    """In which tables of the schema, and under which keys of Redis, these words are: [place, word]."""
    found = []
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [_schema()])
        for table in [row[0] for row in cursor.fetchall()]:
            for word in words:
                asked = f'SELECT EXISTS (SELECT FROM "{_schema()}"."{table}" AS row WHERE row::text LIKE %s)'
                cursor.execute(asked, [f"%{word}%"])
                found += [[table, word]] if cursor.fetchone()[0] else []
    for number in range(2):
        with redis.Redis.from_url(f"{settings.REDIS_URL}/{number}") as client:
            for key in client.scan_iter("*", count=1000):
                said = _content(client, key)
                found += [[key.decode(errors="replace"), word] for word in words if word.encode() in key + said]
    return found


def _content(client: "redis.Redis", key: bytes) -> bytes:
    """All that is under a key."""
    match client.type(key):
        case b"stream":
            return b" ".join(part for _, entry in client.xrange(key) for pair in entry.items() for part in pair)
        case b"zset":
            return b" ".join(client.zrange(key, 0, -1))
        case b"set":
            return b" ".join(client.smembers(key))
        case b"list":
            return b" ".join(client.lrange(key, 0, -1))
        case b"hash":
            return b" ".join(part for pair in client.hgetall(key).items() for part in pair)
        case b"string":
            return client.get(key) or b""
    return b""


def approve(swarm: str) -> Answer:
    """Say yes to what is asked."""
    for asked in Approval.objects.filter(swarm=swarm, state="pending"):
        approvals.approve(asked, by=_owner())


def book_unheard() -> Answer:
    """What the sweep does ten minutes later: for how many executions."""
    return metering.book_unheard(after=timedelta(0))


def roll_back(swarm: str) -> Answer:
    """Take back what has landed."""
    rollback.request(Swarm.objects.get(pk=swarm), by=_owner())


def lose_ticket(swarm: str) -> Answer:
    """Somebody's hand in the database: the ticket of a node that waits for its turn is gone."""
    gone, _ = Ticket.objects.filter(kind="node", subject__in=Node.objects.filter(swarm=swarm, state="ready")).delete()
    return gone


def state(swarm: str) -> Answer:
    """Where a swarm is."""
    return Swarm.objects.get(pk=swarm).state


def cancel_all() -> Answer:
    """Whatever goes on in the team is to stop; whether it has."""
    live = list(Swarm.objects.exclude(state__in=SWARM_ENDED))
    for swarm in live:
        if swarm.state != "cancelling":
            operations.cancel(swarm, by=None)
    return not live and not Execution.objects.filter(state__in=LIVE).exists()


def spares() -> Answer:
    """How many servers wait on the team's runners."""
    return Runner.objects.aggregate(n=Sum("spares"))["n"] or 0


def nodes(swarm: str) -> Answer:
    """Where its nodes are, by key."""
    return dict(Node.objects.filter(swarm=swarm).values_list("key", "state"))


def asked(swarm: str) -> Answer:
    """What people are asked about it, and what they say."""
    return list(Approval.objects.filter(swarm=swarm).order_by("requested_at").values_list("kind", "state"))


def works(swarm: str) -> Answer:
    """Whether an agent is at work for it."""
    return Execution.objects.filter(swarm=swarm, kind="work", state="running").exists()


def look() -> Answer:
    """What goes on in the team, for who waits in vain."""
    live = Swarm.objects.exclude(state__in=SWARM_ENDED)
    return {
        "swarms": list(live.values_list("number", "state", "because")),
        "nodes": list(Node.objects.filter(swarm__in=live).values_list("key", "state", "because")),
        "executions": list(Execution.objects.filter(state__in=LIVE).values_list("kind", "state")),
        "due": list(Due.objects.values_list("kind", flat=True)),
        "tickets": list(Ticket.objects.values_list("kind", "lane", "parked")),
    }


def attempts(swarm: str) -> Answer:
    """How every attempt of a node ended, and why, by the node's key and the attempt's number."""
    rows = Attempt.objects.filter(node__swarm=swarm).order_by("node__key", "number")
    return {
        f"{key} {number}": [state, reason]
        for key, number, state, reason in rows.values_list("node__key", "number", "state", "reason")
    }


def violations() -> Answer:
    """What `verify` finds now, of all that must hold at any moment."""
    wanted = [(TEAM, connection.schema_name)] if connection.schema_name != PUBLIC else []
    lagging = {each.name for each in registry.ALL if each.settles}
    found = verify(wanted, Scope(replay=True, settle=0)).violations
    return [f"{each.invariant}: {each.says}" for each in found if each.invariant not in lagging]


def faults(swarm: str) -> Answer:
    """Everything that is not as it must be when a swarm has ended, in words."""
    schema = connection.schema_name
    return [
        *invariants.violations(schema, quiet=True),
        *_effects(Swarm.objects.select_related("project").get(pk=swarm)),
        *_money(),
        *_telling(schema),
    ]


def _effects(swarm: Swarm) -> Iterator[str]:
    """Each node succeeded once, and what it made is on the target branch once."""
    counted = swarm.nodes.annotate(n=Count("attempts", filter=Q(attempts__state="succeeded")))
    yield from (f"{node.key} succeeded {node.n} times" for node in counted if node.n != 1)
    bare, branch = Path(swarm.project.source), swarm.project.target_branch
    commits = [line.split() for line in git(bare, "rev-list", "--parents", branch).stdout.splitlines()]
    for merge in swarm.merges.filter(state="merged").select_related("attempt__node"):
        found = [commit for commit, *parents in commits if merge.attempt.commit in parents[1:]]
        if found != [merge.commit]:
            yield f"{merge.attempt.node.key} was merged as {merge.commit}, and the target branch has {found}"
    wanted = {"Land": swarm.landed_commit, "Roll back": swarm.rolled_back_commit}
    for what, commit in wanted.items():
        words = ("--all-match", "--fixed-strings", f"--grep={what} goal", f"--grep=Swarm: {swarm.pk}")
        found = git(bare, "log", "--format=%H", *words, branch).stdout.split()
        if found != [commit] * bool(commit):
            yield f"{what}: the target branch has {found}, and not {commit or 'nothing'}"
    for folder in ("merge", "landing"):
        left = git(
            repos.path_of(swarm.project_id), "for-each-ref", "--format=%(refname)", f"refs/heads/{folder}"
        ).stdout
        yield from (f"{ref} was left behind" for ref in left.split())


def _money() -> Iterator[str]:
    """Nothing is set aside any more, and what was booked is what the calls cost."""
    for budget in Budget.objects.all():
        if budget.reserved_microusd:
            yield f"{budget.reserved_microusd} are still set aside for {budget.subject}"
        calls = ModelCall.objects.filter(execution__budgets__contains=[budget.subject])
        cost = calls.aggregate(sum=Sum("cost_microusd"))["sum"] or 0
        if budget.spent_microusd != cost:
            yield f"the calls of {budget.subject} cost {cost}, and {budget.spent_microusd} are booked"
    held = Execution.objects.filter(Q(reserved_microusd__gt=0) | Q(held_microusd__gt=0)).exclude(state__in=LIVE)
    yield from (f"execution {one.pk} has ended and keeps {one.reserved_microusd}" for one in held)


def _telling(schema: str) -> Iterator[str]:
    """Every event is on the live stream, once, in its place."""
    if left := Outbox.objects.count():
        yield f"{left} events wait in the outbox"
    told = list(Event.objects.filter(position__isnull=False).order_by("position").values_list("position", flat=True))
    with redis.Redis.from_url(settings.STREAM_URL) as client:
        stream = [int(entry[0].partition(b"-")[0]) for entry in client.xrange(stream_key(schema))]
    if told != stream:
        yield f"the stream has {len(stream)} entries, and there are {len(told)} events"


def webhook(url: str) -> Answer:
    """A webhook that gets all events from now on."""
    made, secret = endpoints.add(name="hook", url=url, kinds=[], projects=[], by=_owner())
    return {"pk": str(made.pk), "secret": secret}


def webhook_waits(pk: str) -> Answer:
    """Whether something waits for it; and nobody who died holds it any more."""
    Webhook.objects.filter(pk=pk, lease_until__isnull=False, fence__isnull=False).exclude(
        lease_until__gt=Now() + leases.lease() - timedelta(seconds=5)
    ).update(lease_until=Now())
    Due.objects.filter(kind="webhook", subject=pk, due_at__gt=Now() + timedelta(seconds=5)).update(due_at=Now())
    return Due.objects.filter(kind="webhook", subject=pk).exists()


def remove_webhook(pk: str) -> Answer:
    """It is gone."""
    endpoints.remove(Webhook.objects.get(pk=pk), by=_owner())


def _owner() -> User:
    return Membership.objects.get(team__schema_name=_schema(), role=Role.OWNER).user


def _schema() -> str:
    return str(connection.schema_name)


VERBS: dict[str, Callable[..., Answer]] = {
    verb.__name__: verb
    for verb in (
        team,
        sign_up,
        state_of_team,
        project,
        state_of_project,
        state_goal,
        state_goal_about,
        state_plan,
        works_of,
        where_words_are,
        approve,
        book_unheard,
        roll_back,
        lose_ticket,
        state,
        cancel_all,
        spares,
        nodes,
        asked,
        works,
        look,
        attempts,
        violations,
        faults,
        webhook,
        webhook_waits,
        remove_webhook,
    )
}


def main() -> None:
    """Answer until there is nothing more to read."""
    for line in sys.stdin:
        words = json.loads(line)
        with in_schema(words.pop("schema") or PUBLIC):
            answer = VERBS[words.pop("verb")](**words)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
