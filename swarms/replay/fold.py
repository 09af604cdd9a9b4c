"""From events to the scene that they tell of, one by one or from a scene on. Pure.

Whatever valid events come, in whatever order: what they name and nobody made is left out, and nothing is raised.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from agents.states import LIVE
from swarms.replay.scene import (
    EMPTY,
    MOST_ATTEMPTS,
    AskSeen,
    AttemptSeen,
    NodeSeen,
    PlanSeen,
    Scene,
    Spent,
    Told,
    WhenSeen,
    WorkSeen,
)
from swarms.states import NODE_ENDED, ApprovalState, NodeState
from swarms.verify.fold import Move, moves

Facts = Mapping[str, Any]


def fold(told: Iterable[Told], start: Scene = EMPTY) -> Scene:
    """The scene after some events, in their order, from `start` on. `start` stays as it is."""
    stage = _Stage(start)
    for event in told:
        stage.take(event)
    return stage.scene()


def step(scene: Scene, event: Told) -> Scene:
    """The scene after one more event."""
    return fold((event,), scene)


class _Stage:
    """A scene that is being changed: copies of the mappings, so that many events cost no copy each."""

    def __init__(self, start: Scene) -> None:
        self.words: dict[str, Any] = {
            name: getattr(start, name) for name in Scene.__dataclass_fields__ if name not in _MAPPINGS
        }
        self.nodes = dict(start.nodes)
        self.attempts = dict(start.attempts)
        self.works = dict(start.works)
        self.asks = dict(start.asks)
        self.plans = dict(start.plans)
        self.merges = dict(start.merges)
        self.ids = _ids(start.nodes)
        self.now = start.at
        self.seq = start.seq

    def scene(self) -> Scene:
        """As it is now."""
        rest = {name: getattr(self, name) for name in _MAPPINGS}
        return Scene(**self.words | {"seq": self.seq, "at": self.now}, **rest)

    def take(self, event: Told) -> None:
        """One more event."""
        self.seq, self.now = event.seq, event.at
        if self.words["began"] is None:
            self.words["began"] = event.at
        if event.kind in MOVES:
            for move in moves(event.kind, event.payload):
                if take := MOVED.get(move.noun):
                    take(self, move)
        elif tell := TOLD.get(event.kind):
            tell(self, event.payload)

    def named(self, key: str) -> NodeSeen | None:
        """A node by its key."""
        return self.nodes.get(self.ids.get(key, ""))


def _ids(nodes: Mapping[str, NodeSeen]) -> dict[str, str]:
    return {node.key: node.id for node in nodes.values()}


_MAPPINGS = ("nodes", "attempts", "works", "asks", "plans", "merges")


def _goal(stage: _Stage, facts: Facts) -> None:
    stage.words |= {"number": facts["number"], "goal": facts["text"], "base": facts["base"], "branch": facts["base"]}


def _planned(stage: _Stage, facts: Facts) -> None:
    for given in facts["nodes"]:
        words = {name: given[name] for name in _WORDS} | {"parents": tuple(given["parents"])}
        words["when"] = tuple(WhenSeen(**one | {"values": tuple(one["values"])}) for one in given["when"])
        before = stage.nodes.get(given["id"])
        stage.nodes[given["id"]] = before._replace(**words) if before else NodeSeen(**words)
        if before is None:
            stage.ids[given["key"]] = given["id"]
        elif before.key != given["key"]:
            stage.ids = _ids(stage.nodes)
    for gone in facts["dropped"]:
        if node := stage.nodes.get(gone):
            stage.nodes[gone] = node._replace(is_dropped=True)


_WORDS = ("id", "key", "title", "kind", "role", "risk", "version", "priority", "max_attempts", "under", "undoes")


def _node_moved(stage: _Stage, move: Move) -> None:
    node = stage.nodes.get(move.id)
    if node is None:
        return
    if move.after == NodeState.RUNNING:
        number = node.attempts + 1
        tries = stage.attempts.get(node.key, ())
        stage.attempts[node.key] = (*tries[1 - MOST_ATTEMPTS :], AttemptSeen(node.key, number))
        node = node._replace(attempts=number, began=node.began or stage.now)
    ended = stage.now if move.after in NODE_ENDED else None
    stage.nodes[move.id] = node._replace(state=move.after, because=move.because, ended=ended)


def _attempt_moved(stage: _Stage, move: Move) -> None:
    key, _, number = move.name.rpartition(" ")
    _change_attempt(stage, key, number, state=move.after, because=move.because, reason=move.reason)


def _change_attempt(stage: _Stage, key: str, number: str, **words: str) -> None:
    tries = stage.attempts.get(key, ())
    for place in range(len(tries) - 1, -1, -1):  # it is nearly always the last one
        if str(tries[place].number) == number:
            stage.attempts[key] = (*tries[:place], tries[place]._replace(**words), *tries[place + 1 :])  # type: ignore[arg-type]
            return


def _execution_moved(stage: _Stage, move: Move) -> None:
    work = stage.works.get(move.id)
    if work is None:
        return
    if move.after in LIVE:
        stage.works[move.id] = work._replace(state=move.after)
    else:
        del stage.works[move.id]


def _approval_moved(stage: _Stage, move: Move) -> None:
    if move.after != ApprovalState.PENDING:
        stage.asks.pop(move.id, None)


def _plan_moved(stage: _Stage, move: Move) -> None:
    if plan := stage.plans.get(move.id):
        stage.plans[move.id] = plan._replace(state=move.after)


def _swarm_moved(stage: _Stage, move: Move) -> None:
    stage.words |= {"state": move.after, "because": move.because}


def _placed(stage: _Stage, facts: Facts) -> None:
    stage.works[facts["execution"]] = WorkSeen(
        id=facts["execution"],
        kind=facts["kind"],
        subject=facts["subject"],
        agent=facts["agent"],
        runner=facts["runner"],
        session=facts["session"],
        title=facts["title"],
        since=stage.now,
    )


def _started(stage: _Stage, facts: Facts) -> None:
    _change_attempt(stage, facts["node"], str(facts["attempt"]), agent=facts["agent"], session=facts["session"])


def _doing(stage: _Stage, facts: Facts) -> None:
    for work in stage.works.values():
        if work.session == facts["session"]:
            stage.works[work.id] = work._replace(doing=facts["text"])
            return


def _proposed(stage: _Stage, facts: Facts) -> None:
    stage.plans[facts["plan"]] = PlanSeen(facts["version"], facts["source"], facts["node"])


def _asked(stage: _Stage, facts: Facts) -> None:
    asked = AskSeen(facts["approval"], facts["kind"], facts["title"], facts["node"], stage.now)
    stage.asks[asked.id] = asked


def _merged(stage: _Stage, facts: Facts) -> None:
    stage.merges[facts["node"]] = stage.words["branch"] = facts["commit"]


def _answered(stage: _Stage, facts: Facts) -> None:
    if node := stage.named(facts["node"]):
        stage.nodes[node.id] = node._replace(answers=facts["answers"])


def _branch(stage: _Stage, facts: Facts) -> None:
    stage.words["branch"] = facts["commit"]


def _landed(stage: _Stage, facts: Facts) -> None:
    stage.words |= {"landed": facts["commit"], "landed_on": facts["branch"], "pushed": facts["pushed"]}


def _rolled_back(stage: _Stage, facts: Facts) -> None:
    stage.words |= {"rolled_back": facts["commit"], "landed_on": facts["branch"], "pushed": facts["pushed"]}


def _priority(stage: _Stage, facts: Facts) -> None:
    if not facts["node"]:
        stage.words["priority"] = facts["priority"]
    elif node := stage.named(facts["node"]):
        stage.nodes[node.id] = node._replace(priority=facts["priority"])


def _deadline(stage: _Stage, facts: Facts) -> None:
    stage.words["deadline"] = facts["at"] or ""


def _called(stage: _Stage, facts: Facts) -> None:
    before, cost = stage.words["spent"], facts["cost_microusd"]
    stage.words["spent"] = Spent(
        before.tokens + facts["input_tokens"] + facts["output_tokens"],
        before.microusd + (cost or 0),
        before.priced + (cost is not None),
        before.unpriced + (cost is None),
        before.rehearsed + facts["rehearsal"],
    )


MOVED: dict[str, Callable[[_Stage, Move], None]] = {
    "node": _node_moved,
    "attempt": _attempt_moved,
    "execution": _execution_moved,
    "approval": _approval_moved,
    "plan": _plan_moved,
    "swarm": _swarm_moved,
}
MOVES = frozenset({"nodes.moved", *(f"{noun}.moved" for noun in MOVED)})
TOLD: dict[str, Callable[[_Stage, Facts], None]] = {
    "goal.stated": _goal,
    "plan.proposed": _proposed,
    "nodes.planned": _planned,
    "execution.placed": _placed,
    "attempt.started": _started,
    "agent.doing": _doing,
    "approval.asked": _asked,
    "node.answered": _answered,
    "node.merged": _merged,
    "branch.set": _branch,
    "swarm.landed": _landed,
    "swarm.rolled_back": _rolled_back,
    "priority.set": _priority,
    "deadline.set": _deadline,
    "model.called": _called,
}
KINDS = MOVES | TOLD.keys()
"""The kinds that change a scene; the payload of any other is not looked at."""
