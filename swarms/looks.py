"""How each state looks: a tone (colour), a glyph and a word, never colour alone. Pure."""

from typing import NamedTuple


class Look(NamedTuple):
    """`tone` is a set of tokens in app.css, `icon` a symbol of the sprite."""

    tone: str
    icon: str
    word: str


_WAITS = "circle-dashed"
_WORKS = "loader-circle"

LOOKS: dict[str, dict[str, Look]] = {
    "project": {
        "fetching": Look("running", _WORKS, "Fetching"),
        "ready": Look("succeeded", "check", "Ready"),
        "failed": Look("failed", "x", "Cannot be read"),
        "archived": Look("skipped", "minus", "Archived"),
    },
    "swarm": {
        "planning": Look("running", _WORKS, "Planning"),
        "proposed": Look("approval", "triangle-alert", "Plan proposed"),
        "running": Look("running", _WORKS, "Running"),
        "paused": Look("paused", "pause", "Paused"),
        "draining": Look("running", _WORKS, "Draining"),
        "integrating": Look("running", _WORKS, "Integrating"),
        "landing": Look("approval", "git-merge", "Landing"),
        "succeeded": Look("succeeded", "check", "Landed"),
        "cancelling": Look("cancelled", "ban", "Cancelling"),
        "cancelled": Look("cancelled", "ban", "Cancelled"),
        "failing": Look("failed", "x", "Failing"),
        "failed": Look("failed", "x", "Failed"),
        "rolling_back": Look("running", "rotate-ccw", "Rolling back"),
        "rollback_paused": Look("paused", "pause", "Rollback paused"),
        "rolled_back": Look("cancelled", "rotate-ccw", "Rolled back"),
    },
    "plan": {
        "drafting": Look("running", _WORKS, "Being written"),
        "invalid": Look("failed", "x", "Has faults"),
        "proposed": Look("approval", "triangle-alert", "Proposed"),
        "approved": Look("succeeded", "check", "Approved"),
        "rejected": Look("failed", "x", "Rejected"),
        "superseded": Look("skipped", "minus", "Superseded"),
    },
    "node": {
        "planned": Look("queued", _WAITS, "Planned"),
        "blocked": Look("queued", _WAITS, "Waiting"),
        "awaiting_approval": Look("approval", "triangle-alert", "Needs approval"),
        "ready": Look("ready", "play", "Ready"),
        "retrying": Look("retrying", "rotate-ccw", "Retrying"),
        "running": Look("running", _WORKS, "Running"),
        "verifying": Look("running", "shield-check", "Checking"),
        "merging": Look("running", "git-merge", "Merging"),
        "conflict": Look("conflict", "git-fork", "Conflict"),
        "succeeded": Look("succeeded", "check", "Succeeded"),
        "failed": Look("failed", "x", "Failed"),
        "skipped": Look("skipped", "minus", "Skipped"),
        "cancelled": Look("cancelled", "ban", "Cancelled"),
    },
    "attempt": {
        "leased": Look("ready", "play", "Placed"),
        "running": Look("running", _WORKS, "Running"),
        "succeeded": Look("succeeded", "check", "Succeeded"),
        "failed": Look("failed", "x", "Failed"),
        "timed_out": Look("failed", "clock", "Timed out"),
        "stalled": Look("lost", "clock", "Stalled"),
        "lost": Look("lost", "circle-question-mark", "Lost"),
        "cancelled": Look("cancelled", "ban", "Cancelled"),
    },
    "check_run": {
        "waiting": Look("queued", _WAITS, "Waiting"),
        "running": Look("running", _WORKS, "Running"),
        "passed": Look("succeeded", "check", "Passed"),
        "failed": Look("failed", "x", "Failed"),
        "broken": Look("lost", "circle-question-mark", "Could not be run"),
        "void": Look("skipped", "minus", "Not needed any more"),
    },
    "merge": {
        "queued": Look("queued", _WAITS, "Queued"),
        "checking": Look("running", "shield-check", "Checking"),
        "merged": Look("succeeded", "git-merge", "Merged"),
        "conflicted": Look("conflict", "git-fork", "Conflict"),
        "refused": Look("failed", "x", "Refused"),
        "void": Look("skipped", "minus", "Not needed any more"),
    },
    "approval": {
        "pending": Look("approval", "triangle-alert", "Needs approval"),
        "approved": Look("succeeded", "check", "Approved"),
        "rejected": Look("failed", "x", "Rejected"),
        "expired": Look("lost", "clock", "Expired"),
        "void": Look("skipped", "minus", "Not needed any more"),
    },
    "execution": {
        "leased": Look("ready", "play", "Placed"),
        "running": Look("running", _WORKS, "Running"),
        "done": Look("succeeded", "check", "Done"),
        "failed": Look("failed", "x", "Failed"),
        "timed_out": Look("failed", "clock", "Timed out"),
        "stalled": Look("lost", "clock", "Stalled"),
        "lost": Look("lost", "circle-question-mark", "Lost"),
        "cancelled": Look("cancelled", "ban", "Cancelled"),
    },
    "server": {
        "quarantined": Look("approval", "shield-check", "Quarantined"),
        "draining": Look("approval", "pause", "Draining"),
        "trusted": Look("succeeded", "check", "Trusted"),
        "lost": Look("lost", "circle-question-mark", "Lost"),
        "disabled": Look("paused", "ban", "Disabled"),
    },
    "agent": {
        "active": Look("succeeded", "check", "Active"),
        "draining": Look("paused", "pause", "Draining"),
        "disabled": Look("cancelled", "ban", "Disabled"),
    },
    "webhook": {
        "enabled": Look("succeeded", "check", "On"),
        "disabled": Look("paused", "pause", "Off"),
    },
    "delivery": {
        "good": Look("succeeded", "check", "Sent"),
        "bad": Look("failed", "x", "Failed"),
    },
    "runner": {
        "connected": Look("succeeded", "check", "Connected"),
        "silent": Look("lost", "clock", "Silent"),
        "away": Look("lost", "circle-question-mark", "Away"),
    },
    "breaker": {
        "closed": Look("succeeded", "check", "Works"),
        "open": Look("failed", "ban", "Left alone"),
        "half_open": Look("retrying", "rotate-ccw", "Being tried"),
    },
    "part": {
        "open": Look("running", _WORKS, "Running"),
        "done": Look("succeeded", "check", "Done"),
        "failed": Look("failed", "x", "Failed"),
    },
    "question": {
        "open": Look("approval", "triangle-alert", "Waits for an answer"),
        "done": Look("succeeded", "check", "Answered"),
        "failed": Look("skipped", "minus", "Not answered"),
    },
}


def look(noun: str, state: str) -> Look:
    """How a noun's state looks; a state of no table is shown by its name."""
    return LOOKS[noun].get(state) or Look("lost", "circle-question-mark", state.replace("_", " ").capitalize())
