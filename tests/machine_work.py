"""What workers and runners do in the machine of rules: each thing at any time, twice, too late, with a wrong fence."""

from typing import Any

from django.db import connection
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, rule

from agents import executions
from agents.contracts import (
    Assignment,
    CheckOutcome,
    CheckResult,
    FailureOutcome,
    FailureReason,
    Given,
    Outcome,
    PlanOutcome,
    PlanProposal,
    ReviewOutcome,
    WorkOutcome,
)
from agents.models import Execution
from agents.states import LIVE
from swarms import control, dispatch, engine, landing, merges, replan, reverts
from swarms.models import Attempt, Swarm
from tenants.ids import uuid7
from tenants.models import Placement, Team
from tests.machine_plans import PART, PLACES, changed, parts, pick
from tests.machine_stage import commit

GIT = {"merge": merges.process, "revert": reverts.process, "land": landing.land}
"""Actors that work with a repository."""


class Work(RuleBasedStateMachine):
    """Rules of those who work."""

    team: Team
    swarm: Swarm
    claimed: list[dict[str, str]]
    held = Bundle("held")

    @rule(times=st.integers(1, 2))
    def hint(self, times: int) -> None:
        for _ in range(times):
            engine.advance(self.swarm.pk)

    @rule()
    def hint_of_the_control_lane(self) -> None:
        control.serve()

    @rule(actor=st.sampled_from(sorted(GIT)))
    def hint_of_git(self, actor: str) -> None:
        GIT[actor](self.swarm.pk)

    @rule(claim=st.integers(0, 2))
    def claim(self, claim: int) -> None:
        """A worker claims, and may die before it completes."""
        with connection.cursor() as cursor:
            self.claimed += control.step(cursor, self.swarm.pk, [], claim=claim).claimed

    @rule(which=PLACES, is_forged=st.booleans())
    def complete(self, which: int, is_forged: bool) -> None:
        """Completes what was claimed once, perhaps long ago; a wrong fence never does."""
        if (one := pick(self.claimed, which)) is None:
            return
        live = Attempt.objects.filter(pk=one["attempt"], ended_at=None).exists()
        given = one | {"fence": str(uuid7())} if is_forged else one
        with connection.cursor() as cursor:
            took = control.step(cursor, self.swarm.pk, [given], claim=0)
        assert took.stale == (0 if live and not is_forged else 1)

    @rule()
    def turn(self) -> None:
        dispatch.dispatch()

    @rule(target=held, which=PLACES)
    def deliver(self, which: int) -> Assignment | None:
        waiting = Placement.objects.filter(team=self.team, delivered_at=None).order_by("execution")
        found = pick(list(waiting), which)
        return executions.deliver(found.execution, self.team) if found else None

    @rule(one=held)
    def accept(self, one: Assignment | None) -> None:
        if one:
            live = _is_live(one)
            assert (executions.accept(one.execution, one.fence) == "stale") != live

    @rule(one=held, progress=st.integers(0, 5), is_forged=st.booleans())
    def heartbeat(self, one: Assignment | None, progress: int, is_forged: bool) -> None:
        if one:
            live = _is_live(one)
            fence = uuid7() if is_forged else one.fence
            assert (executions.heartbeat(one.execution, fence, progress) == "stale") == (is_forged or not live)

    @rule(
        one=held,
        fate=st.sampled_from(["good", "good", "good", "bad", "mute", "model_error", "cancelled"]),
        part=parts(),
        is_forged=st.booleans(),
    )
    def report(self, one: Assignment | None, fate: str, part: PlanProposal, is_forged: bool) -> None:
        """Reports, perhaps long after its end: then nothing changes."""
        if one is None:
            return
        live = _is_live(one)
        fence = uuid7() if is_forged else one.fence
        outcome = self.outcome(one, fate, part)
        same = Execution.objects.filter(pk=one.execution, outcome=outcome.model_dump(mode="json")).exists()
        before = list(Attempt.objects.order_by("pk").values_list("pk", "state"))
        try:
            faults = executions.settle(one.execution, fence, outcome)
            assert live or same
            assert not is_forged
            if fate == "mute" and one.answers and not same:
                assert faults
                assert _is_live(one)
        except executions.Stale:
            assert is_forged or not live
            assert list(Attempt.objects.order_by("pk").values_list("pk", "state")) == before

    def outcome(self, one: Assignment, fate: str, part: PlanProposal = PART) -> Outcome:
        """What comes of it; `bad` is work that was not asked for, a check that fails, a review that wants changes, and
        `mute` answers nothing of what is asked."""
        if fate in ("model_error", "cancelled"):
            return FailureOutcome(reason=FailureReason(fate), message="dice")
        match one.kind:
            case "plan":
                return PlanOutcome(plan=part if one.subject.startswith("node:") else self.whole(fate))
            case "work" if not one.writes:  # it undoes something outside the repository
                return WorkOutcome(commit=one.repository.commit if one.repository else "", summary="undone")
            case "work":
                made = commit(one, "stray" if fate == "bad" else one.writes[0])
                return WorkOutcome(commit=made, summary=fate, answers=_answers(one, fate))
            case "check":
                return _checked(one, int(fate == "bad"))
        verdict: Any = "approve" if fate == "good" else "request_changes"
        return ReviewOutcome(verdict=verdict, summary=fate, answers=_answers(one, fate))

    def whole(self, fate: str) -> PlanProposal:
        """What the coordinator makes of the plan that is carried out; one that is bad changes nothing."""
        plan = replan.current(self.swarm)
        return changed(plan, "", "insert") if fate == "good" else plan


def _answers(one: Assignment, fate: str) -> dict[str, Given]:
    """What its agent answers of all that it is asked."""
    all_of_them: dict[str, Given] = {"sure": fate == "good", "found": 3 if fate == "good" else 1}
    return {} if fate == "mute" else {asked.name: all_of_them[asked.name] for asked in one.answers}


def _is_live(one: Assignment) -> bool:
    return Execution.objects.filter(pk=one.execution, state__in=LIVE).exists()


def _checked(one: Assignment, code: int) -> CheckOutcome:
    assert one.repository is not None
    results = (
        CheckResult(name=check.name, command=check.command, commit=one.repository.commit, exit_code=code, seconds=0.1)
        for check in one.checks
    )
    return CheckOutcome(results=tuple(results))
