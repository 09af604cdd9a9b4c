"""Invariants of attempts, executions, check runs and merges. Pure text."""

from swarms.verify.invariant import Invariant

_OF_TOKEN = "t.kind = 'attempt' AND t.revoked_at IS NULL AND t.team_id = %(team)s"

INVARIANTS = (
    Invariant(
        "attempts_dense",
        "Attempts of a node are numbered 1, 2, 3 … up to the number that was made.",
        """
        SELECT n.id::text AS id, n.swarm_id AS swarm, concat(n.key, ': ', n.attempts_made, ' attempts were made, ',
          coalesce(a.n, 0), ' are there, numbered ', a.first, ' to ', a.last) AS says
        FROM swarms_node n LEFT JOIN (
          SELECT node_id, count(*) AS n, min(number) AS first, max(number) AS last FROM swarms_attempt GROUP BY node_id
        ) AS a ON a.node_id = n.id
        WHERE n.attempts_made <> coalesce(a.n, 0) OR a.first <> 1 OR a.last <> a.n
        """,
    ),
    Invariant(
        "attempts_bounded",
        "No node fails by its own work more often than it may.",
        """
        SELECT n.id::text AS id, n.swarm_id AS swarm,
          concat(n.key, ' failed ', n.failures, ' times; it may ', n.max_attempts, ' times') AS says
        FROM swarms_node n WHERE n.failures > n.max_attempts
        """,
    ),
    Invariant(
        "one_live_attempt",
        "At most one attempt of a node is live.",
        """
        SELECT n.id::text AS id, n.swarm_id AS swarm, concat(n.key, ' has ', count(*), ' live attempts') AS says
        FROM swarms_attempt a JOIN swarms_node n ON n.id = a.node_id WHERE a.state IN ('leased', 'running')
        GROUP BY n.id HAVING count(*) > 1
        """,
    ),
    Invariant(
        "one_success",
        "A node has succeeded exactly when one of its attempts has, and only one.",
        """
        SELECT n.id::text AS id, n.swarm_id AS swarm,
          concat(n.key, ' is ', n.state, ' with ', coalesce(a.n, 0), ' successes') AS says
        FROM swarms_node n LEFT JOIN (
          SELECT node_id, count(*) AS n FROM swarms_attempt WHERE state = 'succeeded' GROUP BY node_id
        ) AS a ON a.node_id = n.id WHERE coalesce(a.n, 0) <> (n.state = 'succeeded')::int
        """,
    ),
    Invariant(
        "attempt_ended_at",
        "An attempt is live exactly while it has not ended.",
        """
        SELECT a.id::text AS id, n.swarm_id AS swarm, concat(n.key, ' ', a.number, ' is ', a.state, ' and ended at ',
          coalesce(a.ended_at::text, 'no time')) AS says
        FROM swarms_attempt a JOIN swarms_node n ON n.id = a.node_id
        WHERE (a.state IN ('leased', 'running')) <> (a.ended_at IS NULL)
        """,
    ),
    Invariant(
        "attempt_has_one_lease",
        "An attempt is a runner's, by an execution, or the control plane's own, by a fence; a worker on one"
        " of those has a time until when it may be silent.",
        """
        SELECT a.id::text AS id, n.swarm_id AS swarm, concat(n.key, ' ', a.number, ' has ',
          CASE WHEN a.execution_id IS NULL THEN 'no' ELSE 'an' END, ' execution, ',
          CASE WHEN a.fence IS NULL THEN 'no' ELSE 'a' END, ' fence, and is ', a.state, ' until ',
          coalesce(a.lease_until::text, 'no time')) AS says
        FROM swarms_attempt a JOIN swarms_node n ON n.id = a.node_id
        WHERE (a.execution_id IS NULL) <> (a.fence IS NOT NULL)
          OR a.fence IS NOT NULL AND n.state = 'running' AND a.state IN ('leased', 'running')
            AND a.lease_until IS NULL
        """,
    ),
    Invariant(
        "execution_ended_at",
        "An execution is live exactly while it has not ended.",
        """
        SELECT x.id::text AS id, x.swarm, concat(x.kind, ' ', x.subject, ' is ', x.state, ' and ended at ',
          coalesce(x.ended_at::text, 'no time')) AS says
        FROM agents_execution x WHERE (x.state IN ('leased', 'running')) <> (x.ended_at IS NULL)
        """,
    ),
    Invariant(
        "one_live_execution",
        "At most one execution of a subject is live.",
        """
        SELECT x.subject AS id, x.swarm, concat(x.subject, ' has ', count(*), ' live executions') AS says
        FROM agents_execution x WHERE x.state IN ('leased', 'running') GROUP BY x.subject, x.swarm HAVING count(*) > 1
        """,
    ),
    Invariant(
        "execution_wanted",
        "Somebody waits for what a live execution does, or it was asked to stop.",
        """
        SELECT x.id::text AS id, x.swarm, concat(x.kind, ' ', x.subject, ' is ', x.state, ', and nobody waits for it')
          AS says
        FROM agents_execution x WHERE x.state IN ('leased', 'running') AND x.cancel_at IS NULL
          AND NOT EXISTS (SELECT FROM swarms_attempt a WHERE a.execution_id = x.id AND a.state IN ('leased', 'running'))
          AND NOT EXISTS (SELECT FROM swarms_plan p WHERE x.subject = 'plan:' || p.id AND p.state = 'drafting')
          AND NOT EXISTS (SELECT FROM swarms_checkrun r WHERE x.subject = 'checks:' || r.id AND r.state = 'running')
        """,
    ),
    Invariant(
        "execution_let_go",
        "An execution that has ended holds no token, and its session is closed.",
        f"""
        SELECT x.id::text AS id, x.swarm, concat(x.kind, ' ', x.subject, ' has ended, and its token is good') AS says
        FROM agents_execution x JOIN public.tenants_token t ON t.subject = 'execution:' || x.id
        WHERE x.ended_at IS NOT NULL AND {_OF_TOKEN}
        UNION ALL
        SELECT x.id::text, x.swarm, concat(x.kind, ' ', x.subject, ' has ended, and its session is open')
        FROM agents_execution x JOIN agent_sessions_session s ON s.id = x.session_id
        WHERE x.ended_at IS NOT NULL AND s.ended_at IS NULL
        """,
    ),
    Invariant(
        "checks_worked_on",
        "Checks that run are run by a live execution.",
        """
        SELECT r.id::text AS id, r.swarm_id AS swarm, concat('checks (', r.purpose,
          ') run, and nobody runs them') AS says
        FROM swarms_checkrun r WHERE r.state = 'running' AND NOT EXISTS (
          SELECT FROM agents_execution x WHERE x.subject = 'checks:' || r.id AND x.state IN ('leased', 'running'))
        """,
    ),
    Invariant(
        "one_exact_check_run",
        "The checks on an attempt's commit are run once.",
        """
        SELECT r.attempt_id::text AS id, r.swarm_id AS swarm, concat(count(*), ' check runs of one attempt') AS says
        FROM swarms_checkrun r WHERE r.purpose = 'exact' AND r.state <> 'void' AND r.attempt_id IS NOT NULL
        GROUP BY r.attempt_id, r.swarm_id HAVING count(*) > 1
        """,
    ),
    Invariant(
        "one_merge_at_a_time",
        "At most one merge of a swarm is being checked.",
        """
        SELECT m.swarm_id::text AS id, m.swarm_id AS swarm, concat(count(*), ' merges are checked at once') AS says
        FROM swarms_merge m WHERE m.state = 'checking' GROUP BY m.swarm_id HAVING count(*) > 1
        """,
    ),
    Invariant(
        "merge_checked",
        "While a merge is checked, checks on its tree wait or run.",
        """
        SELECT m.id::text AS id, m.swarm_id AS swarm, 'a merge waits for checks that nobody runs' AS says
        FROM swarms_merge m WHERE m.state = 'checking' AND NOT EXISTS (
          SELECT FROM swarms_checkrun r WHERE r.merge_id = m.id AND r.state IN ('waiting', 'running'))
        """,
    ),
    Invariant(
        "merged_succeeded",
        "What is merged has a commit, and its attempt has succeeded.",
        """
        SELECT m.id::text AS id, m.swarm_id AS swarm, concat(n.key, ' ', a.number, ' is merged as ',
          coalesce(nullif(m.commit, ''), 'no commit'), ', and is ', a.state) AS says
        FROM swarms_merge m JOIN swarms_attempt a ON a.id = m.attempt_id JOIN swarms_node n ON n.id = a.node_id
        WHERE m.state = 'merged' AND (a.state <> 'succeeded' OR m.commit = '')
        """,
    ),
)
