"""Invariants of what was agreed and what was proved: nodes as their plan says, work as it was checked. Pure text."""

from swarms.states import SWARM_UNDOES, SwarmState
from swarms.verify.invariant import Invariant, words

_GOOD = (
    "jsonb_path_query_array(r.results, '$[*] ? (@.exit_code == 0 && @.commit == $of)',"
    " jsonb_build_object('of', r.commit))"
)
_GIVEN = "jsonb_path_query_array(r.results, '$[*]')"
_WANTED = "jsonb_path_query_array(r.checks, '$[*]')"
_TEXTS = ("title", "kind", "role", "instructions", "risk", "fan_in", "on_failure", "compensate")
_FLAGS = ("untrusted", "secrets", "effects")
_LISTS = ("writes", "checks", "answers")
_AS_WRITTEN = " AND ".join(
    [
        *(f"n.{name} = w.node ->> '{name}'" for name in _TEXTS),
        *(f"n.{name} = (w.node ->> '{name}')::boolean" for name in _FLAGS),
        *(f"n.{name} = w.node -> '{name}'" for name in _LISTS),
        "n.time_limit IS NOT DISTINCT FROM (w.node ->> 'minutes')::int * 60",
    ]
)
_BEFORE_A_PLAN = {SwarmState.PLANNING, SwarmState.PROPOSED}
_STOPPED = {SwarmState.CANCELLING, SwarmState.CANCELLED, SwarmState.FAILING, SwarmState.FAILED}
_ROLLED_BACK = SWARM_UNDOES | {SwarmState.ROLLED_BACK}

INVARIANTS = (
    Invariant(
        "node_as_planned",
        "A node is as its plan says, which is what was approved.",
        f"""
        WITH written AS MATERIALIZED (
          SELECT p.id AS plan, node ->> 'key' AS key, node
          FROM swarms_plan p, jsonb_path_query(p.document, '$.nodes[*]') AS node
          WHERE p.state IN ('approved', 'superseded')
        )
        SELECT n.id::text AS id, n.swarm_id AS swarm,
          concat(n.key, ' is otherwise than plan ', p.version, ' says') AS says
        FROM swarms_node n JOIN swarms_plan p ON p.id = n.plan_id AND p.document IS NOT NULL
        LEFT JOIN written w ON w.plan = n.plan_id AND w.key = n.key
        WHERE n.undoes_id IS NULL AND ({_AS_WRITTEN}) IS NOT TRUE
        """,
    ),
    Invariant(
        "edge_as_planned",
        "What an open edge looks at in its parent is what the newest plan of its node says.",
        """
        WITH open AS MATERIALIZED (
          SELECT e.id, c.swarm_id AS swarm, p.key AS parent, c.key AS child, e.condition
          FROM swarms_edge e JOIN swarms_node c ON c.id = e.child_id JOIN swarms_node p ON p.id = e.parent_id
          WHERE e.resolved IS NULL
        ), newest AS MATERIALIZED (
          SELECT DISTINCT ON (p.swarm_id, node ->> 'key') p.swarm_id AS swarm, node ->> 'key' AS child,
            node -> 'when' AS conditions
          FROM swarms_plan p, jsonb_path_query(p.document, '$.nodes[*]') AS node
          WHERE p.state = 'approved' AND p.swarm_id IN (SELECT o.swarm FROM open o)
          ORDER BY p.swarm_id, node ->> 'key', p.version DESC
        ), written AS (
          SELECT w.swarm, w.child, looks ->> 'parent' AS parent, looks - 'parent' AS condition
          FROM newest w, jsonb_path_query(w.conditions, '$[*]') AS looks
        )
        SELECT o.id::text AS id, o.swarm, concat('edge ', o.parent, ' to ', o.child, ' looks at ',
          coalesce(o.condition ->> 'field', 'nothing'), ', and its plan says ',
          coalesce(w.condition ->> 'field', 'nothing'), ', or otherwise') AS says
        FROM open o LEFT JOIN written w USING (swarm, child, parent)
        WHERE nullif(o.condition, 'null') IS DISTINCT FROM w.condition
        """,
    ),
    Invariant(
        "says_when_done",
        "A node has an output and a commit once it has succeeded, and not before.",
        """
        SELECT n.id::text AS id, n.swarm_id AS swarm, concat(n.key, ' is ', n.state, ', and has ',
          CASE WHEN n.commit = '' THEN 'an output' ELSE 'a commit' END, ' already') AS says
        FROM swarms_node n WHERE n.state <> 'succeeded' AND (n.commit <> '' OR n.output <> '{}')
        """,
    ),
    Invariant(
        "belongs_to_one_swarm",
        "What belongs to a swarm in two ways belongs to one swarm.",
        """
        SELECT o.id::text AS id, o.swarm, concat(o.what, ' belongs to two swarms') AS says FROM (
          SELECT n.id, n.swarm_id AS swarm, concat('node ', n.key) AS what, p.swarm_id AS other
          FROM swarms_node n JOIN swarms_plan p ON p.id = n.plan_id
          UNION ALL SELECT n.id, n.swarm_id, concat('node ', n.key), p.swarm_id
          FROM swarms_node n JOIN swarms_node p ON p.id = n.parent_id
          UNION ALL SELECT p.id, p.swarm_id, concat('plan ', p.version), n.swarm_id
          FROM swarms_plan p JOIN swarms_node n ON n.id = p.node_id
          UNION ALL SELECT a.id, n.swarm_id, concat('attempt ', a.number, ' of ', n.key),
            CASE WHEN x.subject = 'node:' || n.id THEN x.swarm END
          FROM swarms_attempt a JOIN swarms_node n ON n.id = a.node_id JOIN agents_execution x ON x.id = a.execution_id
          UNION ALL SELECT m.id, m.swarm_id, 'a merge', n.swarm_id
          FROM swarms_merge m JOIN swarms_attempt a ON a.id = m.attempt_id JOIN swarms_node n ON n.id = a.node_id
          UNION ALL SELECT r.id, r.swarm_id, concat('checks (', r.purpose, ')'), n.swarm_id
          FROM swarms_checkrun r JOIN swarms_attempt a ON a.id = r.attempt_id JOIN swarms_node n ON n.id = a.node_id
          UNION ALL SELECT r.id, r.swarm_id, concat('checks (', r.purpose, ')'), m.swarm_id
          FROM swarms_checkrun r JOIN swarms_merge m ON m.id = r.merge_id
          UNION ALL SELECT q.id, q.swarm_id, q.title, n.swarm_id
          FROM swarms_approval q JOIN swarms_node n ON n.id = q.node_id
          UNION ALL SELECT q.id, q.swarm_id, q.title, p.swarm_id
          FROM swarms_approval q JOIN swarms_plan p ON p.id = q.plan_id
        ) AS o WHERE o.other IS DISTINCT FROM o.swarm
        """,
    ),
    Invariant(
        "checks_say_so",
        "Checks have passed exactly when each of them ended with 0 on exactly their commit; else they have failed.",
        f"""
        SELECT r.id::text AS id, r.swarm_id AS swarm, concat('checks (', r.purpose, ') are ', r.state, ', and ',
          jsonb_array_length({_GOOD}), ' of ', jsonb_array_length({_WANTED}), ' passed') AS says
        FROM swarms_checkrun r WHERE r.state IN ('passed', 'failed')
          AND (r.state = 'passed') <> (jsonb_array_length({_GOOD}) = jsonb_array_length({_WANTED})
            AND jsonb_array_length({_GIVEN}) = jsonb_array_length({_WANTED}))
        """,
    ),
    Invariant(
        "merged_was_checked",
        "What is merged has passed its checks: an agent's commit by itself, and the merged tree.",
        """
        SELECT m.id::text AS id, m.swarm_id AS swarm,
          concat(n.key, ' ', a.number, ' is merged, and not checked') AS says
        FROM swarms_merge m JOIN swarms_attempt a ON a.id = m.attempt_id JOIN swarms_node n ON n.id = a.node_id
        WHERE m.state = 'merged' AND NOT EXISTS (
          SELECT FROM swarms_checkrun r
          WHERE r.merge_id = m.id AND r.purpose = 'merged' AND r.state = 'passed' AND r.commit = m.commit)
        UNION ALL
        SELECT m.id::text, m.swarm_id, concat(n.key, ' ', a.number, ' is ', m.state, ', and its commit is not checked')
        FROM swarms_merge m JOIN swarms_attempt a ON a.id = m.attempt_id JOIN swarms_node n ON n.id = a.node_id
        WHERE m.state IN ('queued', 'checking', 'merged') AND a.execution_id IS NOT NULL AND NOT EXISTS (
          SELECT FROM swarms_checkrun r
          WHERE r.attempt_id = a.id AND r.purpose = 'exact' AND r.state = 'passed' AND r.commit = a.commit)
        """,
    ),
    Invariant(
        "success_was_merged",
        "Work that succeeded is merged, and its node says where.",
        """
        SELECT n.id::text AS id, n.swarm_id AS swarm, concat(n.key, ' succeeded at ',
          coalesce(nullif(n.commit, ''), 'no commit'), ', and that is merged nowhere') AS says
        FROM swarms_node n
        WHERE n.state = 'succeeded' AND n.kind IN ('agent', 'revert') AND n.role <> 'reviewer' AND NOT EXISTS (
          SELECT FROM swarms_merge m JOIN swarms_attempt a ON a.id = m.attempt_id
          WHERE a.node_id = n.id AND m.state = 'merged' AND m.commit = n.commit)
        """,
    ),
    Invariant(
        "branch_is_merges",
        "A swarm's branch is at its last merge, and each merge was made onto the one before; until something is rolled"
        " back.",
        """
        SELECT m.id::text AS id, s.id AS swarm,
          concat('a merge was made onto ', m.onto, ', and not onto ', m.before) AS says
        FROM (
          SELECT m.*, lag(m.commit) OVER (PARTITION BY m.swarm_id ORDER BY m.ended_at, m.id) AS before
          FROM swarms_merge m WHERE m.state = 'merged'
        ) AS m JOIN swarms_swarm s ON s.id = m.swarm_id WHERE s.rollback_at IS NULL AND m.onto <> m.before
        UNION ALL
        SELECT s.id::text, s.id, concat('the branch is at ', s.integration_commit, ', and the last merge is ', m.commit)
        FROM swarms_swarm s JOIN LATERAL (
          SELECT m.commit FROM swarms_merge m WHERE m.swarm_id = s.id AND m.state = 'merged'
          ORDER BY m.ended_at DESC, m.id DESC LIMIT 1
        ) AS m ON true WHERE s.rollback_at IS NULL AND s.integration_commit <> m.commit
        """,
    ),
    Invariant(
        "landed_was_checked",
        "What went to a target branch had passed its checks on exactly that commit.",
        """
        SELECT s.id::text AS id, s.id AS swarm, concat(l.commit, ' landed, and was not checked') AS says
        FROM swarms_swarm s, LATERAL (VALUES (s.landed_commit), (s.rolled_back_commit)) AS l (commit)
        WHERE l.commit <> '' AND NOT EXISTS (SELECT FROM swarms_checkrun r
          WHERE r.swarm_id = s.id AND r.purpose = 'landing' AND r.state = 'passed' AND r.commit = l.commit)
        """,
    ),
    Invariant(
        "swarm_times",
        "A swarm says when it began once it has a plan, and when its rollback did once it is rolled back.",
        f"""
        SELECT s.id::text AS id, s.id AS swarm, concat('the swarm is ', s.state, ', began at ',
          coalesce(s.started_at::text, 'no time'), ', and its rollback at ', coalesce(s.rollback_at::text, 'no time'))
          AS says
        FROM swarms_swarm s
        WHERE s.started_at IS NULL AND s.state NOT IN ({words(_BEFORE_A_PLAN | _STOPPED)})
          OR s.started_at IS NOT NULL AND s.state IN ({words(_BEFORE_A_PLAN)})
          OR s.rollback_at IS NULL AND s.state IN ({words(_ROLLED_BACK)})
          OR s.rollback_at IS NOT NULL AND s.state NOT IN ({words(_ROLLED_BACK | _STOPPED)})
        """,
    ),
)
