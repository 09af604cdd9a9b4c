"""What people do in the machine of rules, whether or not it is possible now."""

from collections.abc import Callable
from datetime import timedelta

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from swarms import allowances, approvals, operations, plan_yaml, replan, rollback
from swarms.models import Approval, Node, Swarm
from swarms.states import SWARM_ENDED
from tenants.models import User
from tests.machine_plans import KEYS, PLACES, changed, pick

VERBS: dict[str, Callable[..., object]] = {
    "pause": operations.pause,
    "resume": operations.resume,
    "drain": operations.drain,
    "cancel": operations.cancel,
    "retry": operations.retry_swarm,
    "rollback": rollback.request,
}
OF_ENDED = {"retry", "rollback"}
"""What may be done to a swarm that has ended."""


class People(RuleBasedStateMachine):
    """Rules of those who decide."""

    swarm: Swarm
    by: User

    @rule(verb=st.sampled_from([*sorted(VERBS), "resume", "rollback"]))
    def operate(self, verb: str) -> None:
        self.swarm.refresh_from_db()
        ended = self.swarm.state in SWARM_ENDED
        if self.does(lambda: VERBS[verb](self.swarm, by=self.by)):
            assert not ended or verb in OF_ENDED

    @rule(verb=st.sampled_from(["skip", "retry_node"]), which=PLACES)
    def operate_on(self, verb: str, which: int) -> None:
        if node := self.node(which):
            self.does(lambda: getattr(operations, verb)(node, by=self.by))

    @rule(which=PLACES, priority=st.integers(-5, 5))
    def hurry(self, which: int, priority: int) -> None:
        if node := self.node(which):
            self.does(lambda: operations.set_priority(node, priority, by=self.by))

    @rule(minutes=st.sampled_from([1, 60]))
    def deadline(self, minutes: int) -> None:
        self.swarm.refresh_from_db()
        at = timezone.now() + timedelta(minutes=minutes)
        self.does(lambda: operations.set_deadline(self.swarm, at, by=self.by))

    @rule(which=PLACES, is_yes=st.booleans())
    def decide(self, which: int, is_yes: bool) -> None:
        """The latest question, or an older one that is settled already."""
        if (one := pick(list(Approval.objects.exclude(state="void").order_by("-requested_at")), which)) is None:
            return
        try:
            approvals.approve(one, by=self.by) if is_yes else approvals.reject(one, by=self.by, because="dice")
        except approvals.NotDecidable:
            return
        assert one.state == "pending"

    @rule(limit=st.sampled_from([1, 500_000, 50_000_000]))
    def budget(self, limit: int) -> None:
        self.does(lambda: allowances.set_budget(self.swarm.topic, limit, 80, by=self.by))

    @rule(key=st.sampled_from(KEYS), what=st.sampled_from(["drop", "insert", "reword", "ask"]))
    def change_the_plan(self, key: str, what: str) -> None:
        self.swarm.refresh_from_db()
        if what == "ask":
            self.does(lambda: replan.ask(self.swarm, "another one", by=self.by))
            return
        plan = changed(replan.current(self.swarm), key, what)
        text = plan_yaml.write_yaml(plan.model_dump(mode="json"))
        self.does(lambda: replan.change(self.swarm, text, by=self.by))

    @rule(asks=st.booleans())
    def asks_about_plans(self, asks: bool) -> None:
        """The project's policy is another one from now on."""
        project = self.swarm.project
        type(project).objects.filter(pk=project.pk).update(approve_plan=asks)

    def does(self, verb: Callable[[], object]) -> bool:
        """Whether it was possible."""
        try:
            with transaction.atomic():
                verb()
        except (ValidationError, plan_yaml.PlanFaults):
            return False
        return True

    def node(self, which: int) -> Node | None:
        """One of the nodes that there are now."""
        return pick(list(self.swarm.nodes.order_by("key")), which)
