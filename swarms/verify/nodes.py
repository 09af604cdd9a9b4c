"""Invariants of nodes and edges. Pure text."""

from swarms.release import SATISFIES, SWARM_STOPS, case_of, met
from swarms.states import NODE_ENDED, NODE_LIVE, SWARM_AT_WORK, SWARM_PAUSED, SWARM_STARTS, SwarmState
from swarms.verify.invariant import Invariant, words

_ENDED, _LIVE = words(NODE_ENDED), words(NODE_LIVE)
_EDGES = """(
  SELECT child_id, count(*) AS parents, count(*) FILTER (WHERE resolved IS NULL) AS left,
    count(*) FILTER (WHERE resolved) AS ok
  FROM swarms_edge GROUP BY child_id
)"""
_ENDS = """swarms_edge e JOIN swarms_node p ON p.id = e.parent_id JOIN swarms_node c ON c.id = e.child_id
  JOIN swarms_swarm s ON s.id = c.swarm_id"""
_COUNTS = {"fan_in": "n.fan_in", "parents": "n.parents", "left": "n.deps_left", "ok": "n.deps_ok"}
_RECOUNTED = {
    "fan_in": "n.fan_in",
    "parents": "coalesce(e.parents, 0)",
    "left": "coalesce(e.left, 0)",
    "ok": "coalesce(e.ok, 0)",
}
WILL_BE_LOOKED_AT = "EXISTS (SELECT FROM public.tenants_due d WHERE d.kind = 'advance' AND d.subject = {swarm})"
"""The engine has yet to decide about a swarm."""

_VERDICT = f"""(CASE p.state
  WHEN 'succeeded' THEN {met("e.condition", "p.output")}
  WHEN 'failed' THEN CASE WHEN p.on_failure IN ({words(SATISFIES)}) THEN true
    WHEN p.on_failure NOT IN ({words(SWARM_STOPS)}) THEN false END
  WHEN 'skipped' THEN false
  WHEN 'cancelled' THEN false
END)"""

INVARIANTS = (
    Invariant(
        "exposed_was_approved",
        "A node exposed to strangers' words, secrets and effects outside at once starts after an approval only.",
        """
        SELECT n.id::text AS id, n.swarm_id AS swarm, concat(n.key, ' is ', n.state, ', and nobody approved it') AS says
        FROM swarms_node n WHERE n.trifecta AND n.state IN ('ready', 'running', 'verifying', 'merging', 'succeeded')
          AND NOT EXISTS (
            SELECT FROM swarms_approval q WHERE q.node_id = n.id AND q.kind = 'node' AND q.state = 'approved')
        """,
    ),
    Invariant(
        "edge_counts",
        "A node that has not ended counts its edges in as they are: all, open and satisfied.",
        f"""
        SELECT n.id::text AS id, n.swarm_id AS swarm, concat(n.key, ' counts ', n.parents, ' parents, ', n.deps_left,
          ' open, ', n.deps_ok, ' satisfied; its edges are ', coalesce(e.parents, 0), ', ', coalesce(e.left, 0), ', ',
          coalesce(e.ok, 0)) AS says
        FROM swarms_node n LEFT JOIN {_EDGES} AS e ON e.child_id = n.id
        WHERE n.state NOT IN ({_ENDED}) AND (n.parents <> coalesce(e.parents, 0)
          OR n.deps_left <> coalesce(e.left, 0) OR n.deps_ok <> coalesce(e.ok, 0))
        """,
    ),
    Invariant(
        "edge_verdict",
        "A settled edge says what its parent's end, policy and output mean.",
        f"""
        SELECT e.id::text AS id, c.swarm_id AS swarm, concat('edge ', p.key, ' to ', c.key, ' is ',
          CASE WHEN e.resolved THEN 'satisfied' ELSE 'not satisfied' END, ', and its parent is ', p.state) AS says
        FROM {_ENDS} WHERE e.resolved IS NOT NULL AND e.resolved IS DISTINCT FROM {_VERDICT}
        """,
    ),
    Invariant(
        "edge_settled",
        "An edge to a node that waits is settled once its parent has ended, unless that end stops the swarm.",
        f"""
        SELECT e.id::text AS id, c.swarm_id AS swarm,
          concat('edge ', p.key, ' to ', c.key, ' is open, and its parent is ', p.state) AS says
        FROM {_ENDS} WHERE e.resolved IS NULL AND {_VERDICT} IS NOT NULL AND p.state <> 'cancelled'
          AND c.state NOT IN ({_ENDED})
          AND s.state IN ({words(SWARM_AT_WORK | {SwarmState.INTEGRATING})})
        """,
    ),
    Invariant(
        "edge_inside",
        "An edge joins two nodes of one swarm.",
        """
        SELECT e.id::text AS id, c.swarm_id AS swarm, concat('edge ', p.key, ' to ', c.key, ' joins two swarms') AS says
        FROM swarms_edge e JOIN swarms_node p ON p.id = e.parent_id JOIN swarms_node c ON c.id = e.child_id
        WHERE p.swarm_id <> c.swarm_id
        """,
    ),
    Invariant(
        "path_falls",
        "The path that is left gets shorter along every open edge: there is no circle, and turns follow it.",
        f"""
        SELECT e.id::text AS id, c.swarm_id AS swarm, concat(p.key, ' has ', p.path_length,
          ' nodes before it to an end, and ', c.key, ', which waits for it, has ', c.path_length) AS says
        FROM {_ENDS} WHERE c.state = 'blocked' AND p.state NOT IN ({_ENDED}) AND p.path_length <= c.path_length
        """,
    ),
    Invariant(
        "nothing_stuck",
        "A blocked node waits for something: when its parents decide that it starts or never can, it does so.",
        f"""
        SELECT n.id::text AS id, n.swarm_id AS swarm, concat(n.key, ' is blocked, and nothing holds it back: ',
          n.fan_in, ' of ', n.parents, ' parents, ', n.deps_left, ' open, ', n.deps_ok, ' satisfied') AS says
        FROM swarms_node n JOIN swarms_swarm s ON s.id = n.swarm_id
        WHERE n.state = 'blocked' AND s.state IN ({words(SWARM_STARTS | SWARM_PAUSED)})
          AND ({case_of("holds", **_COUNTS)} OR {case_of("never", **_COUNTS)})
          AND NOT {WILL_BE_LOOKED_AT.format(swarm="s.id")}
        """,
    ),
    Invariant(
        "skipped_rightly",
        "A node that was skipped because it can no longer run cannot, by the ends of its parents.",
        f"""
        SELECT n.id::text AS id, n.swarm_id AS swarm, concat(n.key, ' was skipped, and could run: ', n.fan_in, ' of ',
          coalesce(e.parents, 0), ' parents, ', coalesce(e.left, 0), ' open, ', coalesce(e.ok, 0), ' satisfied') AS says
        FROM swarms_node n LEFT JOIN {_EDGES} AS e ON e.child_id = n.id
        WHERE n.state = 'skipped' AND n.because LIKE 'it can no longer run%%' AND NOT {case_of("never", **_RECOUNTED)}
        """,
    ),
    Invariant(
        "node_ended_at",
        "A node has ended exactly when it says when.",
        f"""
        SELECT n.id::text AS id, n.swarm_id AS swarm, concat(n.key, ' is ', n.state, ' and ended at ',
          coalesce(n.ended_at::text, 'no time')) AS says
        FROM swarms_node n WHERE (n.state IN ({_ENDED})) <> (n.ended_at IS NOT NULL)
        """,
    ),
    Invariant(
        "node_live",
        "A node is running, verifying or merging exactly while one of its attempts is live.",
        f"""
        SELECT n.id::text AS id, n.swarm_id AS swarm, concat(n.key, ' is ', n.state, ' with ', coalesce(a.n, 0),
          ' live attempts') AS says
        FROM swarms_node n LEFT JOIN (
          SELECT node_id, count(*) AS n FROM swarms_attempt WHERE state IN ('leased', 'running') GROUP BY node_id
        ) AS a ON a.node_id = n.id WHERE (n.state IN ({_LIVE})) <> (a.n IS NOT NULL)
        """,
    ),
    Invariant(
        "node_leased",
        "A node is running exactly while somebody holds a lease on it: a runner, or the control plane itself.",
        """
        SELECT n.id::text AS id, n.swarm_id AS swarm, concat(n.key, ' is ', n.state, ', and its lease is ',
          CASE WHEN n.state = 'running' THEN 'gone' ELSE 'live' END) AS says
        FROM swarms_node n LEFT JOIN (
          SELECT DISTINCT a.node_id FROM swarms_attempt a LEFT JOIN agents_execution x ON x.id = a.execution_id
          WHERE a.state IN ('leased', 'running') AND (x.state IN ('leased', 'running')
            OR a.execution_id IS NULL AND a.fence IS NOT NULL AND a.lease_until IS NOT NULL)
        ) AS held ON held.node_id = n.id WHERE (n.state = 'running') <> (held.node_id IS NOT NULL)
        """,
    ),
    Invariant(
        "node_verified",
        "While an agent's node is verifying, checks on exactly its commit wait or run.",
        """
        SELECT n.id::text AS id, n.swarm_id AS swarm, concat(n.key, ' is verifying, and nothing is checked') AS says
        FROM swarms_node n WHERE n.state = 'verifying' AND n.kind = 'agent' AND NOT EXISTS (
          SELECT FROM swarms_attempt a JOIN swarms_checkrun r ON r.attempt_id = a.id
          WHERE a.node_id = n.id AND r.purpose = 'exact' AND r.state IN ('waiting', 'running'))
        """,
    ),
    Invariant(
        "node_queued",
        "A node is merging exactly while it is in the merge queue.",
        """
        SELECT n.id::text AS id, n.swarm_id AS swarm, concat(n.key, ' is ', n.state, ', and ',
          CASE WHEN n.state = 'merging' THEN 'not ' END, 'in the merge queue') AS says
        FROM swarms_node n LEFT JOIN (
          SELECT DISTINCT a.node_id FROM swarms_merge m JOIN swarms_attempt a ON a.id = m.attempt_id
          WHERE m.state IN ('queued', 'checking')
        ) AS waits ON waits.node_id = n.id WHERE (n.state = 'merging') <> (waits.node_id IS NOT NULL)
        """,
    ),
    Invariant(
        "node_asked",
        "A node that awaits approval has a question that is open, or an answer that the engine will look at.",
        f"""
        SELECT n.id::text AS id, n.swarm_id AS swarm, concat(n.key, ' awaits approval, and nobody is asked') AS says
        FROM swarms_node n WHERE n.state = 'awaiting_approval'
          AND NOT EXISTS (SELECT FROM swarms_approval q WHERE q.node_id = n.id AND q.state = 'pending')
          AND NOT {WILL_BE_LOOKED_AT.format(swarm="n.swarm_id")}
        """,
    ),
)
