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


PROJECT_MOVES = table(fetching="ready failed", ready="fetching", failed="fetching")


class SwarmState(StrEnum):
    PLANNING = "planning"  # the coordinator works, or a person must help it
    PROPOSED = "proposed"  # a valid plan waits for approval
    RUNNING = "running"
    PAUSED = "paused"  # nothing new starts
    INTEGRATING = "integrating"  # all nodes are merged; acceptance is checked
    LANDING = "landing"  # waits for approval, then merges to the target branch
    SUCCEEDED = "succeeded"
    CANCELLING = "cancelling"  # waits for live work to stop
    CANCELLED = "cancelled"
    FAILING = "failing"  # waits for live work to stop
    FAILED = "failed"


SWARM_MOVES = table(
    planning="proposed cancelling failing",
    proposed="planning running cancelling failing",
    running="paused integrating cancelling failing",
    paused="running cancelling failing",
    integrating="landing cancelling failing",
    landing="integrating succeeded cancelling failing",
    cancelling="cancelled",
    failing="failed",
)


class PlanState(StrEnum):
    DRAFTING = "drafting"  # the coordinator writes it
    INVALID = "invalid"  # it has faults; a person must help
    PROPOSED = "proposed"
    APPROVED = "approved"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"  # a later version took its place


PLAN_MOVES = table(
    drafting="proposed invalid superseded",
    invalid="superseded",
    proposed="approved rejected superseded",
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
    blocked="awaiting_approval ready skipped cancelled",
    awaiting_approval="ready failed cancelled",
    ready="running failed cancelled",
    running="verifying ready failed cancelled",
    verifying="merging succeeded ready failed cancelled",
    merging="succeeded ready failed cancelled",
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


CHECK_RUN_MOVES = table(waiting="running void broken", running="waiting passed failed broken void")


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

SWARM_ENDED = terminal(SWARM_MOVES)
NODE_ENDED = terminal(NODE_MOVES)
NODE_LIVE = frozenset({NodeState.RUNNING, NodeState.VERIFYING, NodeState.MERGING})
ATTEMPT_ENDED = terminal(ATTEMPT_MOVES)
