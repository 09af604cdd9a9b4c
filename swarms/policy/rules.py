"""Rules for agents' tools. The first one that fits a call decides; what no rule allows is denied. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from swarms.overlap import name_fits
from swarms.policy.patterns import is_command, is_path, normal, perhaps, surely

CONTENT = frozenset({"content", "old", "new", "diff", "edits"})
"""Arguments that say what is written, not where: an answer for more than one call leaves them open."""


class Verdict(StrEnum):
    ALLOW = "allow"
    ASK = "ask"  # a person
    DENY = "deny"


@dataclass(frozen=True)
class Call:
    """What an agent wants to do."""

    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    role: str = ""
    project: str = ""
    swarm: str = ""
    sandboxed: bool = True
    """Commands are locked in where it works."""
    hosted: bool = False
    """It works on an enrolled server, of which a member said that agents may run there without a sandbox."""
    digest: str = ""
    """SHA-256 of exactly this call; empty: nobody asked, somebody only wants to know."""


@dataclass(frozen=True)
class Rule:
    """What is decided of which calls. Empty: it holds for any."""

    tool: str
    """A glob of names of tools."""
    verdict: Verdict
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Globs of named arguments: the call must have each of them."""
    role: str = ""
    project: str = ""
    swarm: str = ""
    sandboxed: bool = False
    """Only where commands are locked in."""
    hosted: bool = False
    """Only on enrolled servers."""
    exact: bool = False
    """The arguments are no patterns: a call has the same ones, but for its CONTENT."""
    digest: str = ""
    """Only the one call with this digest."""
    key: str = ""
    """Id of its row; empty: it is built in."""
    why: str = ""

    def is_for(self, call: Call) -> bool:
        """Whether it speaks of such a call at all, whatever its arguments are."""
        asked = ((self.role, call.role), (self.project, call.project), (self.swarm, call.swarm))
        return (
            name_fits(self.tool, call.tool)
            and all(wanted in ("", given) for wanted, given in asked)
            and (call.sandboxed or not self.sandboxed)
            and (call.hosted or not self.hosted)
        )

    def fits(self, call: Call) -> bool:
        """Whether it decides this call. A permission must fit beyond doubt; for the others a doubt is enough."""
        if not self.is_for(call) or self.digest not in ("", call.digest):
            return False
        if self.exact:
            return telling(call.arguments) == dict(self.arguments)
        matches = surely if self.verdict == Verdict.ALLOW else self._perhaps
        return all(matches(name, call.arguments.get(name), pattern) for name, pattern in self.arguments.items())

    def _perhaps(self, name: str, value: Any, pattern: str) -> bool:
        # A command that nobody says may be any.
        return perhaps(name, value, pattern) or (not value and is_command(name) and self.tool == "shell")


@dataclass(frozen=True)
class Judgement:
    """A verdict, and the rule that decided."""

    verdict: Verdict
    rule: Rule


def telling(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments by which a call is known again: paths without detours, and not what is written."""
    found = {name: value for name, value in arguments.items() if name not in CONTENT and value is not None}
    for name, value in found.items():
        if is_path(name) and isinstance(value, str):
            found[name] = normal(value) or value
    return found


_LOOKS = "Looking at the workspace changes nothing."
_READS = ("read", "list", "search")
_OWN = ("ask", "todo", "waggle_*")
_INSIDE = frozenset({*_READS, "ask", "delegate", "edit", "shell", "stuck", "todo"})
DEFAULTS: tuple[Rule, ...] = (
    Rule("edit", Verdict.DENY, {"path": "**/.git/**"}, why="The .git folder belongs to the platform."),
    *(Rule(tool, Verdict.ALLOW, {"path": "**"}, why=_LOOKS) for tool in _READS),
    *(Rule(tool, Verdict.ALLOW, why="It stays within the platform.") for tool in _OWN),
    *(
        Rule(tool, Verdict.DENY, role=role, why="Who plans or reviews changes nothing.")
        for tool in ("edit", "delegate")
        for role in ("coordinator", "reviewer")
    ),
    Rule("shell", Verdict.DENY, role="coordinator", why="Who plans runs nothing."),
    Rule(
        "edit", Verdict.ALLOW, {"path": "**"}, why="Its work is on a branch of its own, and checked before it counts."
    ),
    Rule("shell", Verdict.ALLOW, sandboxed=True, why="The sandbox has no network, and nothing but the workspace."),
    Rule("shell", Verdict.ALLOW, hosted=True, why="A member lets agents run on this server without a sandbox."),
    Rule("delegate", Verdict.ALLOW, why="A part of the agent is held by the same rules."),
    Rule("stuck", Verdict.ASK, why="It does the same thing over and over; a person knows whether to go on."),
    Rule("web", Verdict.DENY, why="What an agent reads must not be sent away, and strangers' words must not steer it."),
    Rule("*", Verdict.DENY, why="No rule allows it."),
)
"""After a team's own rules. The last one makes that what nobody thought of is denied."""


def judge(own: Iterable[Rule], call: Call) -> Judgement:
    """What a team's rules, in their order, and then the built-in ones say."""
    for rule in (*own, *DEFAULTS):
        if rule.fits(call):
            return Judgement(rule.verdict, rule)
    raise AssertionError("the last built-in rule fits every call")


def unasked(own: Sequence[Rule], call: Call, tools: Iterable[str] = _READS) -> tuple[str, ...]:
    """Tools that are allowed whatever is done with them inside the workspace: no call of them needs a question.

    `call` says who would use them.
    """
    return tuple(tool for tool in tools if _settled((*own, *DEFAULTS), _as(call, tool)) == Verdict.ALLOW)


def reaches_out(own: Sequence[Rule], call: Call) -> bool:
    """Whether some call of a tool that has effects beyond workspace and platform would not be denied at once: of the
    network's, or of one that only a rule of the team knows."""
    tools = {"web"} | {rule.tool for rule in own if rule.tool not in _INSIDE and not rule.tool.startswith("waggle_")}
    return any(_settled((*own, *DEFAULTS), _as(call, tool)) != Verdict.DENY for tool in tools)


def _as(call: Call, tool: str) -> Call:
    return replace(call, tool=tool, arguments={}, digest="")


def _settled(rules: Iterable[Rule], call: Call) -> Verdict | None:
    """The verdict of all calls of a tool, inside the workspace; None: it depends on what they do."""
    seen: set[Verdict] = set()
    for rule in rules:
        if rule.is_for(call) and not rule.digest:
            seen.add(rule.verdict)
            if len(seen) > 1:
                return None
            if not rule.exact and dict(rule.arguments) in ({}, {"path": "**"}):
                return rule.verdict
    return None
