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

MOST = 500
"""Rows of a kind that one look takes."""


def words(*states: str) -> str:
    """States as a list in SQL."""
    return ", ".join(f"'{state}'" for state in sorted(states))


_LIVE_ATTEMPT = words(*(set(ATTEMPT_MOVES) - ATTEMPT_ENDED))
_STOPS = (SwarmState.CANCELLING, SwarmState.FAILING)
_TEAM = "%(team)s::uuid"

FIND: dict[str, str] = {
    "ready node without a ticket": f"""
        SELECT n.id FROM swarms_node n JOIN swarms_swarm s ON s.id = n.swarm_id
        WHERE n.state = 'ready' AND s.state IN ({words(*SWARM_STARTS)}) AND NOT EXISTS (
          SELECT FROM public.tenants_ticket t WHERE t.kind = 'node' AND t.subject = n.id)""",
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
    "node without a live attempt": f"""
        SELECT n.id FROM swarms_node n WHERE n.state IN ({words(*NODE_LIVE)}) AND NOT EXISTS (
          SELECT FROM swarms_attempt a WHERE a.node_id = n.id AND a.state IN ({_LIVE_ATTEMPT}))""",
    "attempt whose execution has ended": f"""
        SELECT a.id FROM swarms_attempt a JOIN swarms_node n ON n.id = a.node_id
        JOIN agents_execution e ON e.id = a.execution_id
        WHERE a.state IN ({_LIVE_ATTEMPT}) AND n.state = 'running' AND e.state NOT IN ({words(*LIVE)})""",
    "attempt of a worker that is gone": f"""
        SELECT a.id FROM swarms_attempt a WHERE a.state IN ({_LIVE_ATTEMPT}) AND a.execution_id IS NULL
          AND a.lease_until < statement_timestamp()""",
    "node that nobody took": f"""
        SELECT n.id FROM swarms_node n JOIN swarms_swarm s ON s.id = n.swarm_id
        JOIN swarms_project p ON p.id = s.project_id
        JOIN public.tenants_ticket t ON t.kind = 'node' AND t.subject = n.id
        WHERE p.start_minutes > 0 AND n.state = 'ready' AND s.state IN ({words(*SWARM_STARTS)})
          AND t.lane = 'agent' AND (t.parked = '' OR starts_with(t.parked, 'agent:'))
          AND greatest(t.created_at, n.ready_at) + p.start_minutes * interval '1 minute' < statement_timestamp()""",
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

UNWANTED = f"""
    DELETE FROM public.tenants_ticket WHERE id IN (
      SELECT t.id FROM public.tenants_ticket t
      WHERE t.team_id = {_TEAM} AND t.kind = 'node' AND NOT EXISTS (
        SELECT FROM swarms_node n WHERE n.id = t.subject AND n.state = 'ready')
      LIMIT {MOST} FOR UPDATE OF t SKIP LOCKED)
    RETURNING subject
"""
"""Tickets of nodes that do not wait for a turn: taken away, and returned."""

TEAMS = """
    SELECT t.id, t.schema_name FROM public.tenants_team t
    WHERE t.state = 'ready' AND (
      EXISTS (SELECT FROM public.tenants_ticket x WHERE x.team_id = t.id)
      OR EXISTS (SELECT FROM public.tenants_placement x WHERE x.team_id = t.id)
      OR EXISTS (SELECT FROM public.tenants_due x WHERE x.team_id = t.id))
"""
"""Teams where something is live, by public rows alone."""
NEXT_TEAMS = "SELECT id, schema_name FROM public.tenants_team WHERE state = 'ready' AND id > %s ORDER BY id LIMIT %s"
