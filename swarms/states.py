"""Every state and every move of what a swarm is made of.

These tables are used three times: by `sessions.transitions.move`, by the database triggers of the first migration,
and by the diagrams in docs/states.md. Pure.
"""

from enum import StrEnum

from tenants.states import Moves, table, terminal


class ProjectState(StrEnum):
    FETCHING = "fetching"  # the repository is being copied
    READY = "ready"
    FAILED = "failed"  # the repository could not be read
    ARCHIVED = "archived"  # put away: all that happened stays, and nothing begins


PROJECT_MOVES = table(
    fetching="ready failed archived",
    ready="fetching archived",
    failed="fetching archived",
    archived="fetching",
)


class SwarmState(StrEnum):
    PLANNING = "planning"  # the coordinator works, or a person must help it
    PROPOSED = "proposed"  # a valid plan waits for approval
    RUNNING = "running"
    PAUSED = "paused"  # nothing new starts
    DRAINING = "draining"  # what runs comes to its end, the rest is skipped, and what is merged goes on
    INTEGRATING = "integrating"  # all nodes have ended; acceptance is checked
    LANDING = "landing"  # waits for approval, then merges to the target branch
    SUCCEEDED = "succeeded"
    CANCELLING = "cancelling"  # waits for live work to stop
    CANCELLED = "cancelled"
    FAILING = "failing"  # waits for live work to stop
    FAILED = "failed"
    ROLLING_BACK = "rolling_back"  # what succeeded is undone, the last first
    ROLLBACK_PAUSED = "rollback_paused"  # nothing more is undone for now
    ROLLED_BACK = "rolled_back"


SWARM_MOVES = table(
    planning="proposed cancelling failing",
    proposed="planning running cancelling failing",
    running="paused draining integrating cancelling failing",
    paused="running draining cancelling failing",
    draining="integrating cancelling failing",
    integrating="landing cancelling failing",
    landing="integrating succeeded cancelling failing",
    cancelling="cancelled",
    failing="failed rolling_back",
    failed="running rolling_back",
    succeeded="rolling_back",
    rolling_back="rollback_paused rolled_back failing failed",
    rollback_paused="rolling_back failing",
)


class PlanState(StrEnum):
    DRAFTING = "drafting"  # the coordinator writes it
    INVALID = "invalid"  # it has faults; a person must help
    PROPOSED = "proposed"
    APPROVED = "approved"  # it is, or was, what the swarm does
    REJECTED = "rejected"
    SUPERSEDED = "superseded"  # a later version took its place


PLAN_MOVES = table(
    drafting="proposed invalid superseded",
    invalid="superseded",
    proposed="approved invalid rejected superseded",
    approved="superseded",
)


class NodeState(StrEnum):
    BLOCKED = "blocked"  # waits for other nodes
    AWAITING_APPROVAL = "awaiting_approval"
    READY = "ready"  # waits for its turn
    RUNNING = "running"
    VERIFYING = "verifying"  # the control plane runs the checks on its commit
    MERGING = "merging"  # in the merge queue
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


NODE_MOVES = table(
    blocked="awaiting_approval ready running skipped cancelled",  # to running at once: the direct call
    awaiting_approval="ready blocked skipped failed cancelled",
    ready="running blocked skipped failed cancelled",
    running="verifying succeeded ready failed cancelled",
    verifying="merging succeeded ready failed cancelled",
    merging="succeeded ready failed cancelled",
    # Out of an end only by a retry of the swarm.
    failed="ready blocked",
    skipped="blocked",
    cancelled="blocked",
)


class AttemptState(StrEnum):
    LEASED = "leased"  # placed on a runner
    RUNNING = "running"  # works, or is being verified and merged
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    STALLED = "stalled"
    LOST = "lost"
    CANCELLED = "cancelled"


ATTEMPT_MOVES = table(
    leased="running succeeded failed timed_out stalled lost cancelled",
    running="succeeded failed timed_out stalled lost cancelled",
)


class CheckRunState(StrEnum):
    WAITING = "waiting"  # for its turn
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"
    BROKEN = "broken"  # could not be run
    VOID = "void"  # nobody needs the answer any more


CHECK_RUN_MOVES = table(waiting="running passed void broken", running="waiting passed failed broken void")


class MergeState(StrEnum):
    QUEUED = "queued"
    CHECKING = "checking"  # the merged tree is being checked
    MERGED = "merged"
    CONFLICTED = "conflicted"
    REFUSED = "refused"  # checks fail on the merged tree
    VOID = "void"


MERGE_MOVES = table(queued="checking merged conflicted void", checking="queued merged refused void")


class ApprovalState(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    VOID = "void"  # the subject changed or nobody needs it any more


APPROVAL_MOVES = table(pending="approved rejected expired void")

MACHINES: dict[str, Moves] = {
    "project": PROJECT_MOVES,
    "swarm": SWARM_MOVES,
    "plan": PLAN_MOVES,
    "node": NODE_MOVES,
    "attempt": ATTEMPT_MOVES,
    "check_run": CHECK_RUN_MOVES,
    "merge": MERGE_MOVES,
    "approval": APPROVAL_MOVES,
}

SWARM_ENDED = frozenset({SwarmState.SUCCEEDED, SwarmState.CANCELLED, SwarmState.FAILED, SwarmState.ROLLED_BACK})
"""Nothing happens any more by itself; a person may still retry or roll back."""
SWARM_STARTS = frozenset({SwarmState.RUNNING, SwarmState.ROLLING_BACK})
"""States in which nodes start."""
SWARM_PAUSED = frozenset({SwarmState.PAUSED, SwarmState.ROLLBACK_PAUSED})
"""States in which nodes do not start, but would: what runs goes on."""
SWARM_AT_WORK = SWARM_STARTS | SWARM_PAUSED | {SwarmState.DRAINING}
"""States in which the ends of nodes are followed up, and their work is merged."""
SWARM_UNDOES = frozenset({SwarmState.ROLLING_BACK, SwarmState.ROLLBACK_PAUSED})
"""States in which what a swarm did is being taken back."""
NODE_ENDED = frozenset({NodeState.SUCCEEDED, NodeState.FAILED, NodeState.SKIPPED, NodeState.CANCELLED})
NODE_LIVE = frozenset({NodeState.RUNNING, NodeState.VERIFYING, NodeState.MERGING})
NODE_WAITING = frozenset({NodeState.BLOCKED, NodeState.AWAITING_APPROVAL, NodeState.READY})
ATTEMPT_ENDED = terminal(ATTEMPT_MOVES)
ENDED: dict[str, frozenset[str]] = {
    noun: frozenset({"swarm": SWARM_ENDED, "node": NODE_ENDED}.get(noun, terminal(moves)))
    for noun, moves in MACHINES.items()
}
"""States in which a row is frozen: only a legal move changes it."""
