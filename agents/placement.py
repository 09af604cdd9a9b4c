"""Where work goes: which agent takes it, and on which runner. Pure: over what is known at that moment.

Agents are chosen by role, state, room, what drives them and skills; runners by how full they are and whether they hold
the project's cache; servers in agents.server_choice. Who does not fit is told with the reason.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from agents.server_choice import Host, Picked, pick

ROOMY = 0.5
"""A runner with the project's cache is taken while it is at most so full; a fuller one only if none is emptier."""


@dataclass(frozen=True)
class Candidate:
    """An agent of the registry, or the one that does a role for which the registry has nobody."""

    name: str
    state: str = "active"
    runtime: str = ""
    """Empty: as the platform's setting says."""
    model: str = ""
    """Empty: the platform's."""
    capacity: int | None = None
    """Executions at once; None: as many as the runners have room for."""
    runner: str = ""
    """The only runner on which it works; empty: any."""
    server: str = ""
    """The address of the enrolled server on which it works, or `any`; empty: none."""
    skills: tuple[str, ...] = ()
    is_registered: bool = True


class Why(StrEnum):
    """The kind of reason for which an agent does not take work."""

    STATE = "state"
    BREAKER = "breaker"
    FULL = "full"
    ELSEWHERE = "elsewhere"
    SERVER = "server"


@dataclass(frozen=True)
class Misfit:
    """Why one agent does not take the work."""

    agent: str
    why: Why
    text: str


@dataclass(frozen=True)
class Chosen:
    """The agent that takes the work, and what drives it."""

    agent: str
    """Of the registry."""
    name: str
    """Of this execution: an agent with room for several is numbered, developer-2."""
    runtime: str = ""
    model: str = ""
    because: str = ""
    is_registered: bool = False
    is_bound: bool = False
    """It works on this runner only."""
    host: Host | None = None
    """The enrolled server on which it works; None: its runner does all."""

    @property
    def driven(self) -> dict[str, Any]:
        """What its assignment says of that."""
        found: dict[str, Any] = {"runtime": self.runtime} if self.runtime else {}
        if self.host is not None:
            found["host"] = {"id": self.host.id, "name": self.host.name, "url": self.host.url}
        return found

    @property
    def facts(self) -> dict[str, str | bool]:
        """As the execution keeps it."""
        facts: dict[str, str | bool] = {"agent": self.agent, "model": self.model, "because": self.because}
        if self.host is not None:
            facts |= {"server": self.host.id, "server_name": self.host.name}
        return facts | {"registered": self.is_registered}


@dataclass(frozen=True)
class Nobody:
    """No agent takes the work now."""

    role: str
    misfits: tuple[Misfit, ...]
    elsewhere: tuple[str, ...] = ()
    """Runners on which somebody would take it at once."""
    is_untrusted: bool = False
    """Other work of the role might be taken; this reads strangers' words, and nothing would lock it in."""

    @property
    def text(self) -> str:
        """All reasons, in one line."""
        return f"{self.role}: " + "; ".join(misfit.text for misfit in self.misfits)


def unwalled(chosen: Chosen | None, runner: str, sandbox: str) -> str:
    """Why nothing locks in the agent that takes work on this runner, or where there is none (checks) the runner's own
    work: what its owner has and can reach, it has and can reach. Empty: it is locked in, or runs nothing. `sandbox`:
    that of the runner."""
    if chosen is not None and chosen.host is not None:
        return f"it works on the server {chosen.host.name}, where agents are not locked in"
    return f"it works on the runner {runner}, which locks nothing in" if sandbox == "unconfined" else ""


def belongs(name: str, agent: str) -> bool:
    """Whether an execution of this name is one of the agent: its own name, or numbered."""
    head, dash, number = name.rpartition("-")
    return name == agent or (bool(dash) and head == agent and number.isdigit())


def choose(
    role: str,
    candidates: Sequence[Candidate],
    *,
    runner: str,
    live: Collection[str],
    text: str = "",
    shut: Mapping[str, str] | None = None,
    hosts: Sequence[Host] = (),
    untrusted: bool = False,
) -> Chosen | Nobody:
    """Which of the candidates for a role takes a piece of work that has its turn on this runner.

    `live` are the names of executions under way; `text` is the work in words, in which skills are looked for; `shut`
    tells of each model that is left alone now why that is; `hosts` are the enrolled servers on which work may be
    placed, and `untrusted` says that the work reads strangers' words.
    """
    sifted = _Sifted()
    for one in candidates:
        busy = sum(belongs(name, one.name) for name in live)
        if misfit := _misfit(one, busy, shut or {}):
            sifted.misfits.append(misfit)
        elif one.runner and one.runner != runner:
            sifted.elsewhere.append(one.runner)
            text_of = f"{one.name} works on the runner {one.runner} only, and that has no room or is away"
            sifted.misfits.append(Misfit(one.name, Why.ELSEWHERE, text_of))
        elif one.server:
            sifted.to_server(one, busy, pick(one.name, one.server, hosts, role, runner, untrusted=untrusted))
        else:
            sifted.fitting.append((one, busy, None))
    if not sifted.fitting:
        return Nobody(role, tuple(sifted.misfits), tuple(dict.fromkeys(sifted.elsewhere)), sifted.is_untrusted)
    words = _words(text)
    best, _, host = min(sifted.fitting, key=lambda each: (-len(_known(each[0], words)), _fill(*each[:2]), each[0].name))
    because = ", ".join(_reasons(best, role, host, words))
    more = {"is_registered": best.is_registered, "is_bound": bool(best.runner)}
    return Chosen(best.name, _name(best, live), best.runtime, best.model, because, host=host, **more)


@dataclass
class _Sifted:
    """Candidates that fit, each with how much it has and the server on which it works; and why the others do not."""

    fitting: list[tuple[Candidate, int, Host | None]] = field(default_factory=list)
    misfits: list[Misfit] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    is_untrusted: bool = False

    def to_server(self, one: Candidate, busy: int, picked: Picked) -> None:
        """One that works on an enrolled server: with that, or with the reason why there is none."""
        if picked.host is not None:
            self.fitting.append((one, busy, picked.host))
            return
        self.misfits.append(Misfit(one.name, Why.SERVER, picked.text))
        self.is_untrusted |= picked.is_untrusted
        self.elsewhere += [name for name in picked.elsewhere if one.runner in ("", name)]


def _reasons(best: Candidate, role: str, host: Host | None, words: Collection[str]) -> Iterable[str]:
    yield f"{best.name} takes the role {role}"
    if known := _known(best, words):
        yield f"knows {', '.join(known)}"
    if best.runner:
        yield f"works on {best.runner} only"
    if host is not None:
        yield f"on the server {host.name}, which has {host.busy} of {host.capacity}"


def _misfit(one: Candidate, busy: int, shut: Mapping[str, str]) -> Misfit | None:
    if one.state != "active":
        return Misfit(one.name, Why.STATE, f"{one.name} is {one.state}")
    if one.model in shut:
        return Misfit(one.name, Why.BREAKER, f"the model of {one.name} is left alone: {shut[one.model]}")
    if one.capacity is not None and busy >= one.capacity:
        return Misfit(one.name, Why.FULL, f"{one.name} has {busy} of the {one.capacity} executions that it may have")
    return None


def _name(one: Candidate, live: Collection[str]) -> str:
    if one.capacity == 1:
        return one.name
    number = 1
    while f"{one.name}-{number}" in live:
        number += 1
    return f"{one.name}-{number}"


def _fill(one: Candidate, busy: int) -> float:
    """How much of its room an agent has taken; without a limit, a little for each execution."""
    return busy / one.capacity if one.capacity else busy / (busy + 16)


def _words(text: str) -> frozenset[str]:
    return frozenset("".join(c if c.isalnum() or c in "+#" else " " for c in text.lower()).split())


def _known(one: Candidate, words: Collection[str]) -> list[str]:
    return [skill for skill in one.skills if skill.lower() in words]


@dataclass(frozen=True)
class Place:
    """A runner with a free slot."""

    name: str
    held: int
    capacity: int

    @property
    def fill(self) -> float:
        """How full it is: 0 to 1."""
        return self.held / self.capacity if self.capacity else 1.0


def prefer(places: Sequence[Place], warm: Iterable[str]) -> Place:
    """The runner for a piece of work: one that worked on its project lately (`warm`, the last one first) while it has
    room enough, else the emptiest. `places` is not empty."""
    emptiest = min(places, key=lambda place: (place.fill, place.name))
    by_name = {place.name: place for place in places}
    for name in warm:
        place = by_name.get(name)
        if place is not None and (place.fill <= ROOMY or place.fill <= emptiest.fill):
            return place
    return emptiest


@dataclass(frozen=True)
class Seen:
    """A runner as it is known."""

    name: str
    is_linked: bool
    silent_seconds: float | None
    """Since it was last heard; None: never."""
    held: int = 0
    capacity: int = 0


def health(runner: Seen, *, beat: float, missed: int) -> tuple[str, str]:
    """A runner's state (connected, silent, away) and why; `beat` is in seconds, `missed` how many may be."""
    if runner.silent_seconds is None:
        return "away", "it was never connected"
    if not runner.is_linked:
        return "away", "its connection ended"
    if runner.silent_seconds >= beat * missed:
        return "silent", f"it missed {missed} heartbeats or more, and gets no new work"
    if runner.capacity and runner.held >= runner.capacity:
        return "connected", f"all {runner.capacity} slots are taken"
    return "connected", ""
