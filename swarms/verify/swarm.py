"""Invariants of swarms and their plans. Pure text."""

from swarms.states import NODE_ENDED, SWARM_ENDED
from swarms.verify.invariant import Invariant, words

_ENDED = words(SWARM_ENDED)

INVARIANTS = (
    Invariant(
        "swarm_ended_at",
        "A swarm has ended exactly when it says when.",
        f"""
        SELECT s.id::text AS id, s.id AS swarm, concat('the swarm is ', s.state, ' and ended at ',
          coalesce(s.ended_at::text, 'no time')) AS says
        FROM swarms_swarm s WHERE (s.state IN ({_ENDED})) <> (s.ended_at IS NOT NULL)
        """,
    ),
    Invariant(
        "ended_is_quiet",
        "Of a swarm that has ended nothing is open: no node, merge, check, draft or question; what still runs of one"
        " that landed was asked to stop. Only its rollback may be asked for.",
        f"""
        SELECT s.id::text AS id, s.id AS swarm, concat('the swarm is ', s.state, ' with an open ', o.what) AS says
        FROM swarms_swarm s JOIN (
          SELECT swarm_id AS swarm, concat('node, ', key) AS what FROM swarms_node
          WHERE state NOT IN ({words(NODE_ENDED)})
          UNION ALL SELECT swarm_id, 'merge' FROM swarms_merge WHERE state IN ('queued', 'checking')
          UNION ALL SELECT swarm_id, 'check run' FROM swarms_checkrun WHERE state IN ('waiting', 'running')
          UNION ALL SELECT swarm_id, 'plan' FROM swarms_plan WHERE state IN ('drafting', 'proposed')
          UNION ALL SELECT swarm_id, 'approval' FROM swarms_approval WHERE state = 'pending' AND kind <> 'rollback'
        ) AS o ON o.swarm = s.id WHERE s.state IN ({_ENDED})
        UNION ALL
        SELECT s.id::text, s.id, concat('the swarm is ', s.state, ', and ', x.kind, ' ', x.subject, ' is ', x.state)
        FROM swarms_swarm s JOIN agents_execution x ON x.swarm = s.id AND x.state IN ('leased', 'running')
        WHERE s.state IN ({_ENDED}) AND (s.state <> 'succeeded' OR x.cancel_at IS NULL)
        """,
    ),
    Invariant(
        "archived_rests",
        "Nothing is at work in a project that is archived.",
        f"""
        SELECT s.id::text AS id, s.id AS swarm, concat(s.state, ' in an archived project') AS says
        FROM swarms_swarm s JOIN swarms_project p ON p.id = s.project_id AND p.state = 'archived'
        WHERE s.state NOT IN ({_ENDED})
        """,
    ),
    Invariant(
        "landed_once",
        "A swarm that succeeded names the commit that landed; one that never landed names none.",
        """
        SELECT s.id::text AS id, s.id AS swarm, concat('the swarm is ', s.state, ', and its landed commit is ',
          coalesce(nullif(s.landed_commit, ''), 'none')) AS says
        FROM swarms_swarm s WHERE s.state = 'succeeded' AND s.landed_commit = ''
          OR s.state IN ('planning', 'proposed', 'running', 'paused', 'draining', 'integrating', 'cancelled')
            AND s.landed_commit <> ''
        """,
    ),
    Invariant(
        "rolled_back",
        "A swarm was rolled back exactly when what had landed was taken back, if anything had; every node that undoes"
        " something has succeeded then, and undoes what had succeeded.",
        """
        SELECT s.id::text AS id, s.id AS swarm, concat('the swarm is ', s.state, ', landed ',
          coalesce(nullif(s.landed_commit, ''), 'nothing'), ', taken back with ',
          coalesce(nullif(s.rolled_back_commit, ''), 'nothing')) AS says
        FROM swarms_swarm s WHERE s.state = 'rolled_back' AND (s.rolled_back_commit <> '') <> EXISTS (
          SELECT FROM swarms_node r WHERE r.swarm_id = s.id AND r.undoes_id IS NOT NULL AND r.kind <> 'undo')
        UNION ALL
        SELECT u.id::text, u.swarm_id, concat(u.key, ' is ', u.state, ', undoes ', n.key, ', which is ', n.state,
          ', and the swarm is ', s.state)
        FROM swarms_node u JOIN swarms_node n ON n.id = u.undoes_id JOIN swarms_swarm s ON s.id = u.swarm_id
        WHERE n.state <> 'succeeded' OR n.swarm_id <> u.swarm_id
          OR s.state = 'rolled_back' AND u.state NOT IN ('succeeded', 'skipped')
        """,
    ),
    Invariant(
        "one_plan",
        "A swarm follows one approved plan, beside those that detail its nodes; once it runs, it has one.",
        """
        SELECT s.id::text AS id, s.id AS swarm, concat('the swarm is ', s.state, ' with ', coalesce(p.n, 0),
          ' approved plans') AS says
        FROM swarms_swarm s LEFT JOIN (
          SELECT swarm_id, count(*) AS n FROM swarms_plan WHERE state = 'approved' AND node_id IS NULL GROUP BY swarm_id
        ) AS p ON p.swarm_id = s.id
        WHERE p.n > 1 OR p.n IS NULL
          AND s.state IN ('running', 'paused', 'draining', 'integrating', 'landing', 'succeeded')
        """,
    ),
)
