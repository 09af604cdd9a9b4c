"""Everybody at once: approvers and the clock, reservations of money, teams with large and small backlogs."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from django.db import transaction
from django.utils import timezone

from agents import budgets
from agents.contracts import PlanNode, PlanProposal
from agents.executions import let_go
from agents.models import Execution
from bench import swarm
from bench.chaos.chaos import Chaos
from bench.stage import wait_for
from sessions.models import Event
from swarms import allowances, approvals
from swarms.models import Approval
from tenants import turns
from tenants.context import PUBLIC, in_schema
from tenants.members import add_member
from tenants.models import Placement, User
from tenants.roles import Role
from tests.money_stage import at_once as reserve_at_once
from tests.money_stage import execution
from tests.together import at_once
from tests.turn_stage import backlog, make_runner, make_team, turns_until

RISKY = 100
"""Nodes of one swarm that ask a person, at most."""
RACE = "two approvers and the expiry at once"
BUDGET, ASKS = 10, 100
BACKLOG = 10_000
HEAVY = (1, 5)
"""Teams with a large backlog beside the one with a small one."""


def approvals_race(chaos: Chaos) -> None:
    """Two approvers and the expiry decide the same question in the same moment: one decision each, and one effect."""
    gates = [gate for n in range(0, chaos.size.races, RISKY) for gate in _ask(chaos, min(RISKY, chaos.size.races - n))]
    with in_schema(PUBLIC):
        owner = User.objects.get(memberships__team=chaos.rivals)
        other = User.objects.create_user("approver@rivals.example", None, name="Approver")
        add_member(chaos.rivals, other, Role.APPROVER)
    wrong, seen, life = 0, Counter[str](), timedelta(milliseconds=30)
    for gate in gates:
        state, is_right = _decide(chaos, gate, owner, other, life)
        # About as long as a decision takes, whatever the machine: the expiry wins as often as the approvers.
        life *= 1.3 if state == "expired" else 0.8
        chaos.report.inject(RACE, hits=True)
        seen[state] += 1
        wrong += not is_right
    chaos.report.recovered |= {f"questions {state}": count for state, count in seen.items()}
    chaos.report.at_most("races for an approval that had not one decision", wrong, 0)
    chaos.report.at_least("outcomes of races (approved, rejected, expired) that were seen", len(seen), 3)


def _ask(chaos: Chaos, count: int) -> list[Approval]:
    """The approvals that a swarm of so many risky nodes asks for."""
    nodes = tuple(
        PlanNode(key=f"n{n}", title="m", kind="noop", risk="high", on_failure="continue") for n in range(count)
    )
    pk = swarm.proposed(chaos.rivals, PlanProposal(summary="risky", nodes=nodes))
    with in_schema(chaos.rivals.schema_name):
        asked = Approval.objects.filter(swarm=pk, state="pending")
        wait_for(lambda: asked.count() == count, "not all is asked")
        return list(asked)


def _decide(chaos: Chaos, gate: Approval, owner: User, other: User, life: timedelta) -> tuple[str, bool]:
    """Let everybody loose on one question. Returns its state, and whether it was decided once and told of once."""
    verbs: list[Callable[[], object]] = [
        partial(approvals.approve, gate, by=owner),
        partial(approvals.reject, gate, by=other, because="no"),
        partial(approvals.expire, gate.pk),
    ]
    chaos.dice.shuffle(verbs)
    with in_schema(chaos.rivals.schema_name):
        Approval.objects.filter(pk=gate.pk).update(expires_at=timezone.now() + life)
        said = at_once(chaos.rivals.schema_name, *verbs)
        approvals.expire(gate.pk)  # should nobody have decided, and the expiry have come too early
        gate.refresh_from_db()
        told = Event.objects.filter(kind="approval.decided", payload__approval=str(gate.pk)).count()
        moved = Event.objects.filter(kind="approval.moved", payload__id=str(gate.pk)).count()
    refused = sum(isinstance(one, approvals.NotDecidable) for one in said)
    by_person = gate.state in ("approved", "rejected")
    right = (told, refused) == ((1, 1) if by_person else (0, 2))
    return gate.state, right and moved == 1 and gate.state != "pending"


def reservations(chaos: Chaos) -> None:
    """A hundred reservations at once on a budget for ten: exactly ten get it."""
    with in_schema(chaos.rivals.schema_name):
        allowances.set_budget("team", BUDGET, 80, by=None)
        waiting = [_placed() for _ in range(ASKS)]

        def reserve(number: int) -> str | None:
            with transaction.atomic():
                return budgets.reserve(waiting[number], ["team"], 1)

        answers = reserve_at_once(reserve, ASKS, chaos.rivals)
        _forget(waiting)
    chaos.report.inject("100 reservations at once on a budget for 10", hits=True)
    chaos.report.at_most("reservations made, other than 10", abs(answers.count(None) - BUDGET), 0)


def _placed() -> Execution:
    """An execution that lacks nothing: the sweep looks at this team, too, and would mend it."""
    with transaction.atomic():
        made = execution(budgets=["team"])
        team = turns.current_team_id()
        Placement.objects.create(execution=made.pk, team_id=team, runner=made.runner, kind=made.kind)
        turns.due("lease", made.pk, after=timedelta(minutes=5))
    return made


def _forget(made: list[Execution]) -> None:
    """Nobody works on these."""
    allowances.set_budget("team", None, 80, by=None)
    for one in made:
        with transaction.atomic():
            let_go(one.pk)
            one.delete()
            one.session.delete()
            one.runner.delete()


def backlogs(chaos: Chaos) -> None:
    """Teams with 10,000 tickets and one with a single one: it waits one round of turns, however long their backlogs."""
    for count in HEAVY:
        with in_schema(PUBLIC), transaction.atomic():
            runner = make_runner(f"fair-{count}")
            for number in range(count):
                backlog(make_team(f"Heavy {number}"), BACKLOG)
            light = make_team("Light")
            waited = turns_until(light, runner)
            transaction.set_rollback(True)  # nobody but us has seen these teams
        chaos.report.inject(f"backlogs of {BACKLOG} in {count} teams and of 1 in another", hits=True)
        name = f"turns that the light team waited beside {count} with 10,000"
        chaos.report.at_most(name, waited, count + 2)  # active teams, itself among them, and one
