"""Why an attempt or a node did not succeed: what each reason means, what follows from it, what a person can do.

One table for the engine (`after_failure`), the pages and docs/operations.md. Pure.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

MAX_LOSSES = 3
"""Attempts lost in a row until a node counts as poison: something in it kills its runner."""
FIRST_DELAY = timedelta(seconds=2)
LONGEST_DELAY = timedelta(minutes=5)
PARKED = timedelta(seconds=15)
"""How long a node waits at least for something outside; its ticket may be put off further (see swarms.dispatch)."""


class Retry(StrEnum):
    """When another attempt begins."""

    NOW = "now"  # there is nothing to wait for
    BACKOFF = "backoff"  # longer after each failure, with jitter
    PARK = "park"  # once what it waits for is there again
    NEVER = "never"


class Counts(StrEnum):
    """What it counts as."""

    FAILURE = "failure"  # of the work: at most max_attempts
    LOSS = "loss"  # of the runner: three in a row are poison
    NOTHING = "nothing"


class Told(StrEnum):
    """Who learns of it, beside everybody who looks."""

    AGENT = "the next attempt's agent"
    MEMBERS = "the team's members"
    OPERATOR = "the operator"


@dataclass(frozen=True)
class Rule:
    """What a reason means and what follows from it."""

    meaning: str
    retry: Retry
    counts: Counts
    told: Told
    remedy: str


def _work(meaning: str, retry: Retry, remedy: str, told: Told = Told.AGENT) -> Rule:
    return Rule(meaning, retry, Counts.FAILURE, told, remedy)


def _outside(meaning: str, retry: Retry, remedy: str, told: Told = Told.MEMBERS) -> Rule:
    return Rule(meaning, retry, Counts.NOTHING, told, remedy)


RULES: dict[str, Rule] = {
    "agent_error": _work(
        "The agent gave up, or its program broke.",
        Retry.BACKOFF,
        "Read the end of its transcript. Make the instructions clearer or the node smaller, then retry it.",
    ),
    "model_error": _work(
        "The model refused the request, or answered with an error.",
        Retry.BACKOFF,
        "Read the message: it is the provider's. Check WAGGLE_MODEL_NAME, the key and the account, then retry.",
        Told.MEMBERS,
    ),
    "invalid_output": _work(
        "The agent's answer kept breaking its contract.",
        Retry.NOW,
        "See in the transcript which field was wrong. A stronger model, or shorter instructions, often help.",
    ),
    "no_changes": _work(
        "The agent ended without changing anything.",
        Retry.NOW,
        "Perhaps the work is done already: then skip the node. Else say in its instructions what must change.",
    ),
    "workspace_error": _work(
        "Its workspace could not be made, committed or pushed.",
        Retry.BACKOFF,
        "Check the runner's disk and its way to the control plane, then retry.",
        Told.OPERATOR,
    ),
    "check_failed": _work(
        "A check failed: on its commit, on the merged tree or on the whole result.",
        Retry.NOW,
        "Read the check's output. If the check itself is wrong, correct it in the project or the plan, then retry.",
    ),
    "checks_broken": _outside(
        "Its checks could not be run, which says nothing about its work: one runner after the other was lost, or nobody"
        " allowed them where nothing locks them in.",
        Retry.NEVER,
        "Look at the runners' logs and memory: a check may use it up. Then retry it: who said no is asked again.",
        Told.OPERATOR,
    ),
    "merge_conflict": _work(
        "Its work conflicts with work that was merged before.",
        Retry.NOW,
        "It is done again on the merged work. If that keeps happening, let one node depend on the other.",
    ),
    "out_of_scope": _work(
        "It changed files that the plan does not let it change.",
        Retry.NOW,
        "If it needs those files, add them to the node's writes in a new plan; else say so in its instructions.",
    ),
    "changes_requested": _work(
        "A person wants the plan that it was detailed into otherwise.",
        Retry.NOW,
        "Nothing: the coordinator plans it again, and has the reason that was given.",
    ),
    "timed_out": _work(
        "It took longer than an attempt may take.",
        Retry.BACKOFF,
        "Split the node, or give it more minutes (in the plan, or for all nodes in the project's settings).",
    ),
    "stalled": _work(
        "Its agent made no progress for too long: no message, no tool call, no token.",
        Retry.BACKOFF,
        "See in the transcript where it stood still. A long command may need more stall minutes in the project.",
    ),
    "sandbox_missing": Rule(
        "No sandbox works on its runner, and commands must not run without one.",
        Retry.NEVER,
        Counts.FAILURE,
        Told.OPERATOR,
        "Install bubblewrap on the runner (or allow user namespaces), restart it, then retry. Only on a machine that"
        " has nothing to lose: set WAGGLE_RUNNER_UNCONFINED=1 for it.",
    ),
    "lost": Rule(
        "Its runner was silent for a whole lease or no longer has it, or its agent's server died.",
        Retry.NOW,
        Counts.LOSS,
        Told.OPERATOR,
        "Nothing, it starts again at once. If it repeats, look at the runner's log and memory.",
    ),
    "released": _outside(
        "Its runner stopped in good order, or had no room, and gave it back.",
        Retry.NOW,
        "Nothing: another runner, or the same one after its restart, goes on with a new attempt.",
    ),
    "provider_unavailable": _outside(
        "The model's provider is away or refuses more calls for now.",
        Retry.PARK,
        "Nothing: it goes on when the provider answers again. Breakers are shown on the agents' page.",
    ),
    "budget_exceeded": _outside(
        "A budget that it draws on is used up.",
        Retry.PARK,
        "Raise the budget or approve the request for it; then it goes on.",
    ),
    "cancelled": _outside("Somebody cancelled it, or its swarm.", Retry.NEVER, "Retry the swarm if it shall go on."),
    "poison": _outside(
        f"{MAX_LOSSES} attempts in a row were lost with their runner: something in the node seems to kill it.",
        Retry.NEVER,
        "Look at the runner's log and memory before you retry the node; give it a runner with more room.",
        Told.OPERATOR,
    ),
    "not_scheduled": _outside(
        "It was ready for longer than the project lets a node wait, and no runner or agent took it.",
        Retry.NEVER,
        "Start runners, enable agents of its role, or raise their capacity or the team's cap; then retry the node.",
        Told.OPERATOR,
    ),
    "rejected": _outside(
        "A person was asked and did not say yes.", Retry.NEVER, "Change the plan, or retry it to be asked again."
    ),
    "deadline": _outside(
        "The swarm's deadline passed before it was done.",
        Retry.NEVER,
        "Set a later deadline (or none) and retry the swarm: what is done stays done.",
    ),
}
UNKNOWN = RULES["agent_error"]


def rule_of(text: str) -> Rule | None:
    """The rule of a text that is a reason or begins with one: 'poison: 3 attempts …', also 'merge conflict: …'."""
    return RULES.get(text.partition(": ")[0].replace(" ", "_"))


@dataclass(frozen=True)
class Again:
    """Try again, not before the delay has passed."""

    delay: timedelta
    parked: str = ""
    """What it waits for, when that is something outside."""


@dataclass(frozen=True)
class GiveUp:
    """No further attempt, and why; the text begins with a reason where there is one."""

    why: str


def count(reason: str, failures: int, losses: int) -> tuple[int, int]:
    """A node's failures and its losses in a row after an attempt that ended for this reason."""
    match RULES.get(reason, UNKNOWN).counts:
        case Counts.FAILURE:
            return failures + 1, 0
        case Counts.LOSS:
            return failures, losses + 1
    return failures, losses


def after_failure(
    reason: str, message: str, *, failures: int, losses: int, max_attempts: int, jitter: float
) -> Again | GiveUp:
    """Whether a node is tried again.

    `failures` and `losses` include this attempt (see `count`); `jitter` is a random number in [0, 1).
    """
    rule = RULES.get(reason, UNKNOWN)
    if rule.retry == Retry.NEVER:
        return GiveUp(f"{reason}: {message or rule.meaning}")
    if rule.counts == Counts.LOSS and losses >= MAX_LOSSES:
        return GiveUp(f"poison: {losses} attempts in a row were lost with their runner")
    if rule.counts == Counts.FAILURE and failures >= max_attempts:
        return GiveUp(f"{reason}: {failures} of {max_attempts} attempts failed, the last one so: {message}")
    if rule.retry == Retry.PARK:
        return Again(PARKED * (1 + jitter), parked=f"{reason}: {message}")
    if rule.retry == Retry.NOW:
        return Again(timedelta(0))
    # The exponent has a limit, or a node with very many attempts would overflow a timedelta.
    delay = min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(failures - 1, 16))
    return Again(delay * (0.5 + jitter / 2))
