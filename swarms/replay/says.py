"""Any event of a swarm in one line, also those that the feed leaves out. Pure."""

from collections.abc import Callable, Mapping
from typing import Any

from swarms import words
from swarms.looks import LOOKS, look
from swarms.words import Sentence


def line(kind: str, facts: Mapping[str, Any]) -> Sentence | None:
    """What a feed says of an event; None when it says nothing."""
    return _said(words.line, kind, facts)


def say(kind: str, facts: Mapping[str, Any]) -> Sentence:
    """What happened, whatever it is."""
    return _said(words.tell, kind, facts) or Sentence(_plain(kind, facts))


def _said(
    tell: Callable[[str, dict[str, Any]], Sentence | None], kind: str, facts: Mapping[str, Any]
) -> Sentence | None:
    """What is told of it, in plain words where that cannot be.

    An archive may be of another time, and hold a word that no sentence is made for: that is no reason to show nothing.
    """
    try:
        return tell(kind, dict(facts))
    except (LookupError, ValueError):
        return Sentence(_plain(kind, facts))


def _plain(kind: str, facts: Mapping[str, Any]) -> str:
    noun = kind.partition(".")[0]
    match kind:
        case "execution.placed":
            return f"{facts['agent']} is placed on {facts['runner']}: {facts['title']}"
        case "agent.doing":
            return f"{facts['agent']}: {facts['text'] or 'nothing more'}"
        case "model.called":
            used = f"{facts['input_tokens'] + facts['output_tokens']} tokens"
            where = f" at {facts['provider']}" if facts.get("provider") else ""
            why = f" ({facts['because']})" if facts.get("because") else ""
            return f"A call of {facts['model'] or 'the model'}{where}: {used}{why}"
        case "nodes.planned" if facts["nodes"]:
            count = len(facts["nodes"])
            return f"{count} node{'' if count == 1 else 's'} of the plan: {_few([n['key'] for n in facts['nodes']])}"
        case "nodes.planned":
            return f"The plan drops {len(facts['dropped'])} of its nodes"
        case "nodes.moved":
            last = {move["name"]: move["after"] for move in facts["moves"]}
            return f"{_few(list(last))}: {', '.join(dict.fromkeys(last.values()))}"
        case "branch.set":
            return f"The swarm's branch goes on from {facts['commit'][:10]}: {facts['why']}"
        case "priority.set":
            return f"Priority {facts['priority']}" + (f" of {facts['node']}" if facts["node"] else "")
        case "deadline.set":
            return f"Deadline {facts['at']}" if facts["at"] else "No deadline any more"
    if kind.endswith(".moved") and noun in LOOKS and "after" in facts:
        name = facts["name"] if noun in ("node", "attempt", "plan", "approval", "swarm") else noun.replace("_", " ")
        return f"{name or noun}: {look(noun, facts['after']).word.lower()}"
    return kind.replace(".", ": ").replace("_", " ")


def _few(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:3])} and {len(names) - 3} more"
