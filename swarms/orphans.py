"""What could be lost, and how it is found: one statement each, for one team. Pure text.

Whatever belongs together is written in one transaction, so none of these finds anything unless a row was lost, damaged
or changed by hand, or a process of ours died between two transactions.
"""

from agents.states import LIVE
from swarms.states import (
    ATTEMPT_ENDED,
    ATTEMPT_MOVES,
    NODE_LIVE,
    SWARM_ENDED,
    SWARM_PAUSED,
    SWARM_STARTS,
    SWARM_UNDOES,
    CheckRunState,
    SwarmState,
)
from tenants.procedures import LANES

MOST = 500
"""Rows of a kind that one look takes."""
SLICE = 2000
"""Nodes and tickets of which one look goes through so many, by index, and the next one through those that follow."""


def words(*states: str) -> str:
    """States as a list in SQL."""
    return ", ".join(f"'{state}'" for state in sorted(states))


_LIVE_ATTEMPT = words(*(set(ATTEMPT_MOVES) - ATTEMPT_ENDED))
_STOPS = (SwarmState.CANCELLING, SwarmState.FAILING)
_TEAM = "%(team)s::uuid"

FIND: dict[str, str] = {
    "plan without a ticket": f"""
        SELECT p.id FROM swarms_plan p JOIN swarms_swarm s ON s.id = p.swarm_id
        WHERE p.state = 'drafting' AND p.source = 'coordinator' AND p.node_id IS NULL
          AND (s.state = 'planning' OR p.amends_id IS NOT NULL AND s.state IN ('running', 'paused'))
          AND NOT EXISTS (SELECT FROM public.tenants_ticket t WHERE t.kind = 'plan' AND t.subject = p.id)
          AND NOT EXISTS (SELECT FROM agents_execution e
            WHERE e.subject = 'plan:' || p.id AND e.state IN ({words(*LIVE)}))""",
    "check run without a ticket": f"""
        SELECT r.id FROM swarms_checkrun r WHERE r.state = '{CheckRunState.WAITING}' AND NOT EXISTS (
          SELECT FROM public.tenants_ticket t WHERE t.kind = 'checks' AND t.subject = r.id)""",
    "check run without a live execution": f"""
        SELECT r.id FROM swarms_checkrun r WHERE r.state = '{CheckRunState.RUNNING}' AND NOT EXISTS (
          SELECT FROM agents_execution e WHERE e.subject = 'checks:' || r.id AND e.state IN ({words(*LIVE)}))""",
    "execution without a placement": f"""
        SELECT e.id FROM agents_execution e WHERE e.state IN ({words(*LIVE)}) AND NOT EXISTS (
          SELECT FROM public.tenants_placement p WHERE p.execution = e.id)""",
    "placement without a live execution": f"""
        SELECT p.execution FROM public.tenants_placement p WHERE p.team_id = {_TEAM} AND NOT EXISTS (
          SELECT FROM agents_execution e WHERE e.id = p.execution AND e.state IN ({words(*LIVE)}))""",
    "attempt whose execution has ended": f"""
        SELECT a.id FROM swarms_attempt a JOIN swarms_node n ON n.id = a.node_id
        JOIN agents_execution e ON e.id = a.execution_id
        WHERE a.state IN ({_LIVE_ATTEMPT}) AND n.state = 'running' AND e.state NOT IN ({words(*LIVE)})""",
    "attempt of a worker that is gone": f"""
        SELECT a.id FROM swarms_attempt a WHERE a.state IN ({_LIVE_ATTEMPT}) AND a.execution_id IS NULL
          AND a.lease_until < statement_timestamp()""",
    "control-plane node without a hint": f"""
        SELECT DISTINCT t.swarm FROM public.tenants_ticket t
        WHERE t.team_id = {_TEAM} AND t.lane = 'control' AND t.swarm IS NOT NULL AND NOT EXISTS (
          SELECT FROM public.tenants_due d WHERE d.kind = 'step' AND d.subject = t.swarm)""",
    "merge without a hint": f"""
        SELECT DISTINCT m.swarm_id FROM swarms_merge m JOIN swarms_swarm s ON s.id = m.swarm_id
        WHERE m.state = 'queued' AND s.state NOT IN ({words(*SWARM_ENDED, *_STOPS)})
          AND NOT EXISTS (SELECT FROM swarms_merge x WHERE x.swarm_id = m.swarm_id AND x.state = 'checking')
          AND NOT EXISTS (SELECT FROM public.tenants_due d WHERE d.kind = 'merge' AND d.subject = m.swarm_id)""",
}
"""What is looked for, and the statement that finds its ids."""

NODES: dict[str, str] = {
    "ready node without a ticket": f"n.state = 'ready' AND n.stands IN ({words(*SWARM_STARTS)}) AND t.id IS NULL",
    "node without a live attempt": f"""n.state IN ({words(*NODE_LIVE)}) AND NOT EXISTS (
      SELECT FROM swarms_attempt a WHERE a.node_id = n.id AND a.state IN ({_LIVE_ATTEMPT}))""",
    "node that nobody took": f"""n.state = 'ready' AND n.stands IN ({words(*SWARM_STARTS)}) AND n.start_minutes > 0
      AND t.lane = 'agent' AND (t.parked = '' OR starts_with(t.parked, 'agent:'))
      AND greatest(t.created_at, n.ready_at) + n.start_minutes * interval '1 minute' < statement_timestamp()""",
}
"""What is looked for among the nodes of swarms that have not ended, and when a node `n` with its ticket `t` is one."""

_CASES = " ".join(f"WHEN {holds} THEN '{what}'" for what, holds in NODES.items())
WALK_NODES = f"""
    WITH slice AS MATERIALIZED (
      SELECT n.id, s.id AS swarm, n.key, n.state, n.ready_at, s.stands, s.start_minutes FROM (
        SELECT x.id, x.state AS stands, p.start_minutes FROM swarms_swarm x JOIN swarms_project p ON p.id = x.project_id
        WHERE x.id >= %(swarm)s::uuid AND x.state NOT IN ({words(*SWARM_ENDED)}) ORDER BY x.id
      ) AS s CROSS JOIN LATERAL (
        -- Swarm after swarm, until there are enough: the rest is not read, nor sorted.
        SELECT x.id, x.key, x.state, x.ready_at FROM swarms_node x
        WHERE x.swarm_id = s.id AND x.key > CASE s.id WHEN %(swarm)s::uuid THEN %(key)s::text ELSE '' END
        ORDER BY x.key LIMIT %(slice)s
      ) AS n LIMIT %(slice)s
    ), found AS (
      SELECT n.id, CASE {_CASES} END AS what
      FROM slice n LEFT JOIN public.tenants_ticket t ON t.kind = 'node' AND t.subject = n.id
    ), last AS (SELECT swarm, key FROM slice ORDER BY swarm DESC, key DESC LIMIT 1)
    SELECT (SELECT count(*) FROM slice) = %(slice)s, (SELECT swarm FROM last), (SELECT key FROM last),
      (SELECT coalesce(jsonb_agg(jsonb_build_array(what, id)), '[]') FROM (
        SELECT what, id FROM found WHERE what IS NOT NULL LIMIT {MOST}) AS f)
"""
"""Nodes after a swarm and a key: whether there may be more, the swarm and key of the last, and what was found."""

WALK_TICKETS = f"""
    WITH slice AS MATERIALIZED (
      SELECT t.id, t.team_id, t.subject FROM public.tenants_ticket t
      WHERE t.kind = 'node' AND t.subject > %(subject)s::uuid ORDER BY t.subject LIMIT %(slice)s
    ), free AS (
      SELECT t.id FROM public.tenants_ticket t WHERE t.id IN (
        SELECT x.id FROM slice x WHERE x.team_id = {_TEAM} AND NOT EXISTS (
          SELECT FROM swarms_node n WHERE n.id = x.subject AND n.state = 'ready'))
      FOR UPDATE OF t SKIP LOCKED
    ), taken AS (DELETE FROM public.tenants_ticket t USING free WHERE t.id = free.id RETURNING t.id)
    SELECT (SELECT count(*) FROM slice) = %(slice)s, (SELECT subject FROM slice ORDER BY subject DESC LIMIT 1),
      (SELECT count(*) FROM taken)
"""
"""Tickets, of all teams, after a subject: whether there may be more, the last subject, and how many were taken away
because their nodes do not wait for a turn."""

STUCK = f"""
    SELECT s.id FROM swarms_swarm s
    WHERE s.state NOT IN ({words(*SWARM_ENDED, *SWARM_PAUSED)})
      AND NOT EXISTS (SELECT FROM public.tenants_due d
        WHERE d.subject = s.id AND d.kind IN ('advance', 'step', 'merge', 'land', 'revert'))
      AND NOT EXISTS (SELECT FROM public.tenants_ticket t WHERE t.swarm = s.id)
      AND NOT EXISTS (SELECT FROM agents_execution e WHERE e.swarm = s.id AND e.state IN ({words(*LIVE)}))
      AND NOT EXISTS (SELECT FROM swarms_approval a WHERE a.swarm_id = s.id AND a.state = 'pending')
      AND NOT EXISTS (SELECT FROM swarms_checkrun r WHERE r.swarm_id = s.id AND r.state IN ('waiting', 'running'))
      AND NOT (s.state = 'planning' AND EXISTS (
        SELECT FROM swarms_plan p WHERE p.swarm_id = s.id AND p.state IN ('drafting', 'invalid')))
"""
"""Swarms that have not ended, and that nothing at all will wake: no person, no runner, no clock."""

NOT_DUE = f"""
    INSERT INTO public.tenants_due (team_id, kind, subject, due_at)
    SELECT {_TEAM}, x.kind, x.id, greatest(x.at, statement_timestamp() + %(grace)s) FROM (
      SELECT 'lease' AS kind, e.id, e.lease_until AS at FROM agents_execution e WHERE e.state IN ({words(*LIVE)})
      UNION ALL SELECT 'close', e.id, e.deadline_at FROM agents_execution e
        WHERE e.state IN ({words(*LIVE)}) AND e.deadline_at IS NOT NULL
      UNION ALL SELECT 'stall', e.id, e.progress_at + e.stall_seconds * interval '1 second' FROM agents_execution e
        WHERE e.state = 'running' AND e.stall_seconds > 0
      UNION ALL SELECT 'approval', a.id, a.expires_at FROM swarms_approval a WHERE a.state = 'pending'
      UNION ALL SELECT 'swarm_deadline', s.id, s.deadline_at FROM swarms_swarm s
        WHERE s.deadline_at IS NOT NULL AND s.state NOT IN ({words(*SWARM_ENDED, *SWARM_UNDOES, *_STOPS)})
    ) AS x
    WHERE NOT EXISTS (SELECT FROM public.tenants_due d WHERE d.kind = x.kind AND d.subject = x.id)
    ON CONFLICT DO NOTHING RETURNING subject
"""
"""Due times that are missing: written again, and returned. Who could not report meanwhile gets `grace`."""

TEAMS = f"""
    SELECT t.id, t.schema_name FROM public.tenants_team t
    WHERE t.state = 'ready' AND (
      EXISTS (SELECT FROM public.tenants_ticket x WHERE x.lane IN ({words(*LANES)}) AND x.team_id = t.id)
      OR EXISTS (SELECT FROM public.tenants_placement x WHERE x.team_id = t.id)
      OR EXISTS (SELECT FROM public.tenants_due x WHERE x.team_id = t.id))
"""
"""Teams where something is live, by public rows alone."""
NEXT_TEAMS = "SELECT id, schema_name FROM public.tenants_team WHERE state = 'ready' AND id > %s ORDER BY id LIMIT %s"
