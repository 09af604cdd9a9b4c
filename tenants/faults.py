"""Named places where a process can be made to die at once, as by kill -9, to prove that nothing is lost by it.

`WAGGLE_CRASH_AT=merge.made` ends the process that reads it when it comes to that place, `merge.made:3` when it comes
there for the third time. The standard library only: the runner has such places, too.
"""

import os
import sys
from collections.abc import Mapping
from itertools import count
from types import MappingProxyType

EXIT_CODE = 137
"""What a shell says of a process that kill -9 has ended."""

POINTS: Mapping[str, str] = MappingProxyType(
    {
        "control.stepped": "One statement has completed and claimed nodes; what follows from it is not done.",
        "control.claimed": "Nodes are claimed, and not completed.",
        "engine.deciding": "What was decided is carried out, and not committed.",
        "engine.between_rounds": "A round of decisions is committed, and the next one not begun.",
        "plan.adopting": "A plan has become nodes and edges, and nothing of it is committed.",
        "plan.proposing": "The coordinator's plan is accepted, and not committed.",
        "approval.deciding": "A person's decision is written, and not committed.",
        "hint.unsent": "A change is committed, and the message that tells of it not sent.",
        "dispatch.placing": "A ticket has become an execution on a runner, and nothing of it is committed.",
        "dispatch.placed": "An execution is placed, and its runner not told.",
        "attempt.opening": "An execution has begun to be placed, and the attempt that it is for is not written.",
        "attempt.given": "An assignment is marked as given to its runner, and not sent.",
        "attempt.begun": "An execution has begun, and its runner has no answer.",
        "outcome.settling": "An outcome is settled, with what its runner does next, and nothing of it is committed.",
        "outcome.accepted": "An outcome is committed, and its runner has no answer.",
        "checks.settling": "Results of checks are written; what waits for them does not know them.",
        "lease.ending": "An execution whose lease is over has ended, and its work is not given on.",
        "merge.made": "git has merged, and no row says so.",
        "merge.recorded": "A merge waits for its checks, and the queue is not looked at again.",
        "merge.merging": "The integration branch has moved on, and the node has not succeeded.",
        "landing.made": "The commit that would land is made, and its checks are not asked for.",
        "landing.committed": "It is decided that a commit lands, and no branch has moved.",
        "landing.unpushed": "Our copy of the target branch has moved, and its source has not.",
        "landing.pushed": "The source has the commit that lands, and no row says so.",
        "landing.landed": "A swarm has landed, and what it no longer needs is not tidied up.",
        "revert.made": "git has taken back a merge, and no row says so.",
        "revert.recorded": "What takes back a merge is in the queue, and the next one not looked at.",
        "relay.numbered": "Events have their places in the team's stream, and are not announced.",
        "relay.announced": "Events are on the live stream, and the outbox has not forgotten them.",
        "webhook.answered": "A webhook's receiver has answered, and no row says so.",
        "tick.found": "The clock has found what is due, and not acted.",
        "sweep.found": "The sweep has found what lost its partner, and not mended it.",
        "team.schema_made": "A new team has an empty schema.",
        "team.migrated": "A new team has its tables, and its doors are closed.",
        "project.fetched": "A project's repository is copied, and no row says so.",
        "gateway.answered": "The model has answered, and what it cost is not booked.",
        "runner.assigned": "An assignment has come to the runner, and it has not begun.",
        "runner.unpushed": "An agent's work is committed in its workspace, and not pushed.",
        "runner.pushed": "An agent's work is pushed, and not reported.",
        "runner.cleaning": "An execution is over, and its workspace not removed.",
    }
)
"""What is true, and what not yet, at each place."""


class UnknownPoint(ValueError):
    """There is no such place; the message says which there are."""


def read(text: str) -> tuple[str, int]:
    """The name of a place and how many times it is passed; an empty name for an empty text. Raises UnknownPoint."""
    name, _, number = text.strip().partition(":")
    if name and name not in POINTS:
        raise UnknownPoint(f"WAGGLE_CRASH_AT names {name!r}, which is no crash point. There are {', '.join(POINTS)}.")
    if number and not (number.isdecimal() and int(number)):
        raise UnknownPoint(f"WAGGLE_CRASH_AT is {text!r}: after the colon comes 1 or more. For example {name}:2.")
    return name, int(number or 1)


try:
    _name, _number = read(os.environ.get("WAGGLE_CRASH_AT", ""))
except UnknownPoint as wrong:
    sys.exit(f"Settings: {wrong}")
_passings = count(1)


def is_armed() -> bool:
    """Whether this process was told to end somewhere."""
    return bool(_name)


def crash_point(name: str) -> None:
    """The process ends here if it was told so by WAGGLE_CRASH_AT; else nothing happens."""
    if name == _name and next(_passings) == _number:
        os.write(2, f"crash point {name}\n".encode())
        os._exit(EXIT_CODE)
