"""Events of a swarm in words, for its feed. Pure."""

import re
from typing import Any, NamedTuple

from swarms.looks import Look, look
from swarms.states import NODE_LIVE

Payload = dict[str, Any]
_ENGINE = Look("queued", "settings", "")
_PERSON = Look("running", "message-square", "")
_NODE_MOVES = ("ready", "awaiting_approval", "verifying", "succeeded", "failed", "skipped", "cancelled")
_NAMED = 4
"""Nodes that one line names; of more it tells how many."""
_BAD_ENDS = ("failed", "timed_out", "stalled", "lost", "cancelled")
PURPOSES = {
    "before": "on the target branch, before anything",
    "exact": "on its exact commit",
    "merged": "on the merged tree",
    "integration": "on the whole result",
    "landing": "on the commit that lands",
}


_CODE = re.compile(r"^[a-z]+(_[a-z]+)+(?=: )")


class Sentence(NamedTuple):
    """What happened, why, and how it looks."""

    text: str
    why: str = ""
    look: Look = _ENGINE
    node: str = ""


KINDS = (
    *("goal.stated", "plan.proposed", "plan.refused", "plan.moved", "swarm.moved", "swarm.landed", "swarm.rolled_back"),
    *("node.moved", "nodes.moved", "node.merged", "attempt.started", "attempt.moved", "leftovers.kept"),
    *("node.answered", "checks.finished", "merge.conflicted", "artifact.kept", "artifact.removed"),
    *("approval.asked", "approval.decided", "decision.made", "budget.set"),
    *("question.asked", "session.steered"),
)
"""The kinds that a feed tells of."""


def _count(things: list[str], word: str) -> str:
    return f"{len(things)} {word}{'' if len(things) == 1 else 's'}"


def plain(reason: str) -> str:
    """A reason without the underscores of our code: 'merge_conflict: …' → 'merge conflict: …'."""
    return _CODE.sub(lambda code: code[0].replace("_", " "), reason)


def tell(kind: str, facts: Payload) -> Sentence | None:
    """An event in words; None when it says nothing new to people."""
    said = _said(kind, facts)
    return said._replace(why=plain(said.why)) if said else None


def line(kind: str, facts: Payload) -> Sentence | None:
    """An event as a line of a feed; None also for a decision of which another event tells what came of it."""
    return None if facts.get("is_told") else tell(kind, facts)


def _said(kind: str, facts: Payload) -> Sentence | None:
    match kind:
        case "swarm.moved" | "node.moved" | "attempt.moved" | "plan.moved":
            return _moved(kind.partition(".")[0], facts)
        case "nodes.moved":
            return _together([move for move in facts["moves"] if move["noun"] == "node"])
        case "goal.stated":
            return Sentence("The goal was stated", facts["text"].splitlines()[0][:160], look("swarm", "planning"))
        case "decision.made":
            by = "a person" if facts["by"].startswith("user:") else f"the {facts['by']}"
            return Sentence(f"Decision of {by}: {facts['what']}", facts["why"], node=facts["node"])
        case "attempt.started":
            text = f"{facts['agent']} begins attempt {facts['attempt']} of {facts['node']}"
            return Sentence(text, f"on {facts['runner']}", look("attempt", "running"), facts["node"])
        case "leftovers.kept" if facts["commit"]:
            text = f"What {facts['agent']} had changed is kept on its branch"
            return Sentence(text, facts["commit"][:10], look("attempt", "lost"))
        case "leftovers.kept":
            text = f"What {facts['agent']} had changed could not be pushed: {facts['runner']} keeps it"
            return Sentence(text, f"in {facts['folder']}: {facts['because']}", look("attempt", "failed"))
        case "checks.finished":
            return _checks(facts)
        case "artifact.kept":
            return Sentence(f"{facts['by']} keeps {facts['name']}", "", look("attempt", "succeeded"))
        case "artifact.removed":
            return Sentence(f"{facts['name']} was deleted", "", _PERSON)
    return _plan_or_gate(kind, facts)


def _moved(noun: str, facts: Payload) -> Sentence | None:
    after, name = facts["after"], facts["name"]
    how = look(noun, after)
    if noun == "swarm":
        if after in ("proposed", "succeeded"):
            return None  # the plan, and the landing, tell of it themselves
        return Sentence(f"Swarm: {how.word.lower()}", facts["because"], how)
    if noun == "plan":
        return Sentence(f"The plan has faults: {facts['because']}", "", how) if after == "invalid" else None
    if noun == "attempt":
        number = name.rpartition(" ")
        text = f"Attempt {number[2]} of {number[0]} ended: {how.word.lower()}"
        reason = facts["reason"].replace("_", " ")
        because = facts["because"].removeprefix("failed: ")
        why = f"{reason}: {because}" if reason and reason not in because else because
        return Sentence(text, why, how, number[0]) if after in _BAD_ENDS else None
    if after not in _NODE_MOVES:
        return None
    if after == "ready" and facts["before"] in NODE_LIVE:
        return Sentence(f"{name} will be tried again", "", look("node", "retrying"), name)  # why: its attempt says
    if after == "succeeded" and facts["because"] == "merged":
        return None  # so does its merge
    return Sentence(f"{name}: {how.word.lower()}", facts["because"], how, name)


def _together(moves: list[Payload]) -> Sentence | None:
    """Several nodes in one line: how many came to which state."""
    told = [move for move in moves if move["after"] in _NODE_MOVES]
    if len(told) == 1:
        return _moved("node", told[0])
    last = {move["name"]: move for move in told}
    groups: dict[str, list[str]] = {}
    for name, move in last.items():
        groups.setdefault(move["after"], []).append(name)
    if not groups:
        return None
    parts = [f"{_names(names)}: {look('node', after).word.lower()}" for after, names in groups.items()]
    why = next(iter({move["because"] for move in last.values()})) if len(groups) == 1 else ""
    return Sentence("; ".join(parts), why, look("node", next(iter(groups))))


def _names(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= _NAMED else f"{len(names)} nodes"


def _checks(facts: Payload) -> Sentence:
    whose = f" of {facts['node']}" if facts["node"] else ""
    where = PURPOSES.get(facts["purpose"], facts["purpose"])
    if not facts["total"]:
        return Sentence(f"No checks to run{whose} {where}", "", look("check_run", "void"), facts["node"])
    good = facts["passed"] == facts["total"]
    text = f"Checks{whose} {where}: {facts['passed']} of {facts['total']} passed"
    why = f"failed: {', '.join(facts['failed'])}" if facts["failed"] else ""
    return Sentence(text, why, look("check_run", "passed" if good else "failed"), facts["node"])


def _plan_or_gate(kind: str, facts: Payload) -> Sentence | None:
    match kind:
        case "budget.set":
            limit = facts["limit_microusd"]
            text = f"Budget set to ${limit / 1e6:,.2f}" if limit is not None else "The budget has no limit any more"
            return Sentence(text, "", look("approval", "approved"))
        case "plan.proposed":
            whose = "the coordinator" if facts["source"] == "coordinator" else "a person"
            text = f"Plan {facts['version']} by {whose}: {_count(facts['nodes'], 'node')}"
            return Sentence(text, " ".join(facts["warnings"]), look("plan", "proposed"))
        case "plan.refused":
            text = f"Plan {facts['version']}, round {facts['round']}: sent back, {_count(facts['faults'], 'fault')}"
            return Sentence(text, " ".join(facts["faults"]), look("plan", "invalid"))
        case "merge.conflicted":
            others = f" with {', '.join(facts['other'])}" if facts["other"] else ""
            text = f"{facts['node']} conflicts{others} and goes back to its author"
            return Sentence(text, ", ".join(facts["paths"]), look("merge", "conflicted"), facts["node"])
        case "node.merged":
            return Sentence(f"{facts['node']} is merged", facts["commit"][:10], look("merge", "merged"), facts["node"])
        case "node.answered":
            said = ", ".join(f"{name} {value}" for name, value in facts["answers"].items())
            return Sentence(f"{facts['node']} answers: {said}", "", look("node", "succeeded"), facts["node"])
        case "swarm.rolled_back":
            why = "" if facts["pushed"] == "pushed" else facts["pushed"]
            text = f"Rolled back on {facts['branch']} as {facts['commit'][:10]}"
            return Sentence(text, why, look("swarm", "rolled_back"))
        case "swarm.landed":
            why = "" if facts["pushed"] == "pushed" else facts["pushed"]
            return Sentence(f"Landed on {facts['branch']} as {facts['commit'][:10]}", why, look("swarm", "succeeded"))
        case "question.asked":
            return Sentence(
                f"{facts['agent']} asks: {facts['text']}", " · ".join(facts["options"]), look("question", "open")
            )
        case "session.steered":
            return _steered(facts)
        case "approval.asked":
            return Sentence(f"Approval needed: {facts['title']}", "", look("approval", "pending"), facts["node"])
        case "approval.decided":
            who = f"{facts['by']} (automatic)" if facts["automatic"] else facts["by"]
            text = f"{facts['verdict'].capitalize()} by {who}: {facts['title']}"
            return Sentence(text, facts["because"], look("approval", facts["verdict"]))
    return None


_STEERED = {
    "message": "{by} to {agent}",
    "interrupt": "{by} interrupted {agent}",
    "revert": "{by} had taken back what {agent} did since it was told something last",
    "unrevert": "{by} has it that nothing of {agent} is taken back",
    "answer": "{by} answered {agent}",
}


def _steered(facts: Payload) -> Sentence:
    return Sentence(_STEERED[facts["kind"]].format_map(facts), facts["text"], _PERSON)
