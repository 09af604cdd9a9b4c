"""What the database does in one statement when nodes end: release, skip, claim, and tell. Pure text for the migration.

The rules are those of swarms.release; tests/test_release.py holds both against each other.
"""

from swarms.release import SATISFIES, SWARM_STOPS, case_of, met
from swarms.states import NODE_ENDED, SWARM_AT_WORK, SWARM_STARTS
from tenants.procedures import BY_INDEX

MOST_MOVES = 100
"""Moves that one event tells of."""
LANES = {"noop": "control", "revert": "git"}
"""Who serves nodes of a kind; all others go to the runners."""


def _words(values: frozenset[str]) -> str:
    return ", ".join(f"'{value}'" for value in sorted(values))


_COUNTS = {
    "fan_in": "n.fan_in",
    "parents": "n.parents",
    "left": "(n.deps_left - c.ended)",
    "ok": "(n.deps_ok + c.ok)",
}
_CLAIMED = "jsonb_build_object('attempt', t.id, 'fence', t.fence, 'node', t.node_id)"


def _attempts(base: str) -> str:
    return f"""
    INSERT INTO swarms_attempt AS a (id, node_id, number, state, reason, because, evidence, base_commit, commit,
      summary, answers, created_at, fence, lease_until)
    SELECT public.tenants_uuid7(), c.id, c.number, 'leased', '', '', '', {base}, '', '', '{{}}', v_now,
      gen_random_uuid(), v_now + p_lease
"""


SPREAD = f"""
CREATE FUNCTION swarms_spread(
  p_team uuid, p_swarm uuid, p_state text, p_priority int, p_base text, p_ended uuid[], p_consider uuid[],
  p_claim int, p_lease interval,
  OUT claimed jsonb, OUT moves jsonb, OUT lanes jsonb, OUT asks int
) LANGUAGE plpgsql {BY_INDEX} AS $body$
DECLARE
  v_now timestamptz := clock_timestamp();
  v_starts boolean := p_state IN ({_words(SWARM_STARTS)});
  v_wave uuid[] := p_ended; v_consider uuid[] := p_consider; v_waiting uuid[] := '{{}}';
  v_moves jsonb; v_ready uuid[]; v_claimed jsonb; v_asks int;
BEGIN
  claimed := '[]'; moves := '[]'; lanes := '{{}}'; asks := 0;
  WHILE cardinality(v_wave) + cardinality(v_consider) > 0 LOOP
    WITH settled AS (
      UPDATE swarms_edge e SET resolved = CASE p.state
        WHEN 'succeeded' THEN {met("e.condition", "p.output")}
        WHEN 'failed' THEN p.on_failure IN ({_words(SATISFIES)})
        ELSE false END
      FROM swarms_node p
      WHERE e.parent_id = ANY (v_wave) AND p.id = e.parent_id AND e.resolved IS NULL
        AND NOT (p.state = 'failed' AND p.on_failure IN ({_words(SWARM_STOPS)}))
      RETURNING e.child_id, e.resolved
    ), counted AS (
      SELECT child_id AS id, count(*)::int AS ended, (count(*) FILTER (WHERE resolved))::int AS ok
      FROM settled GROUP BY child_id
      UNION ALL SELECT c.id, 0, 0 FROM unnest(v_consider) AS c (id)
    ), judged AS MATERIALIZED (  -- or the verdict is worked out wherever it is named
      SELECT n.id, n.key, n.kind, n.state AS before, n.priority, n.path_length, c.ended, c.ok,
        CASE
          WHEN n.state <> 'blocked' OR p_state NOT IN ({_words(SWARM_AT_WORK)}) THEN 'keep'
          WHEN {case_of("never", **_COUNTS)} THEN 'skip'
          WHEN NOT {case_of("holds", **_COUNTS)} THEN 'keep'
          WHEN p_state = 'draining' THEN 'leave'
          WHEN n.risk = 'high' OR n.trifecta THEN 'ask'
          ELSE 'go' END AS verdict
      FROM counted c JOIN swarms_node n ON n.id = c.id WHERE n.state NOT IN ({_words(NODE_ENDED)})
    ), placed AS (
      SELECT j.*, CASE
        WHEN verdict IN ('skip', 'leave') THEN 'skipped'
        WHEN verdict <> 'go' THEN before
        WHEN v_starts AND kind = 'noop' AND row_number() OVER (
          PARTITION BY verdict, kind ORDER BY priority DESC, path_length DESC, key
        ) <= p_claim - jsonb_array_length(claimed) THEN 'running'
        ELSE 'ready' END AS after
      FROM judged j
    ), changed AS (
      UPDATE swarms_node n SET
        deps_left = n.deps_left - p.ended,
        deps_ok = n.deps_ok + p.ok,
        state = p.after,
        because = CASE p.after
          WHEN p.before THEN n.because
          WHEN 'skipped' THEN CASE p.verdict
            WHEN 'leave' THEN 'the swarm is drained: what has not started is left out'
            ELSE 'it can no longer run: its parents ended otherwise than ' || n.fan_in || ' asks' END
          WHEN 'running' THEN 'claimed by the worker that released it'
          ELSE 'nothing stands before it any more' END,
        attempts_made = n.attempts_made + (p.after = 'running' AND p.before <> 'running')::int,
        ready_at = CASE WHEN p.after IN ('ready', 'running') AND p.before = 'blocked' THEN v_now ELSE n.ready_at END,
        started_at = CASE WHEN p.after = 'running' AND n.started_at IS NULL THEN v_now ELSE n.started_at END,
        ended_at = CASE WHEN p.after = 'skipped' THEN v_now ELSE n.ended_at END
      FROM placed p WHERE n.id = p.id
      RETURNING n.id, n.key, n.because, n.attempts_made AS number, p.before, p.after, p.verdict
    ), tried AS ({_attempts("p_base")}
      FROM changed c WHERE c.before = 'blocked' AND c.after = 'running' RETURNING a.id, a.node_id, a.fence
    )
    SELECT
      coalesce((SELECT jsonb_agg({_CLAIMED}) FROM tried t), '[]'),
      coalesce(array_agg(c.id) FILTER (WHERE c.before = 'blocked' AND c.after = 'ready'), '{{}}'),
      coalesce(array_agg(c.id) FILTER (WHERE c.before <> 'skipped' AND c.after = 'skipped'), '{{}}'),
      coalesce(jsonb_agg(jsonb_build_object('noun', 'node', 'id', c.id, 'name', c.key, 'before', c.before,
        'after', c.after, 'because', c.because)) FILTER (WHERE c.before <> c.after), '[]'),
      count(*) FILTER (WHERE c.verdict = 'ask')
    INTO v_claimed, v_ready, v_wave, v_moves, v_asks FROM changed c;
    claimed := claimed || v_claimed; moves := moves || v_moves; asks := asks + v_asks;
    v_waiting := v_waiting || v_ready; v_consider := '{{}}';
  END LOOP;
  IF v_starts AND cardinality(v_waiting) > 0 THEN
    PERFORM public.tenants_wake_share(p_team);
    WITH queued AS (INSERT INTO public.tenants_ticket
      (team_id, kind, subject, swarm, lane, priority, path, not_before, cost, parked, created_at)
    SELECT p_team, 'node', n.id, p_swarm,
      CASE n.kind {" ".join(f"WHEN '{kind}' THEN '{lane}'" for kind, lane in LANES.items())} ELSE 'agent' END,
      p_priority + n.priority, n.path_length, greatest(n.not_before, v_now),
      CASE n.kind WHEN 'noop' THEN 0.01 ELSE 1 END, '', v_now
    FROM swarms_node n WHERE n.id = ANY (v_waiting)
    ON CONFLICT DO NOTHING RETURNING lane)
    SELECT jsonb_object_agg(q.lane, q.n) INTO lanes FROM (SELECT lane, count(*) AS n FROM queued GROUP BY lane) AS q;
    lanes := coalesce(lanes, '{{}}');
  END IF;
END $body$;
"""
DROP_SPREAD = "DROP FUNCTION swarms_spread(uuid, uuid, text, int, text, uuid[], uuid[], int, interval);"

TELL = f"""
CREATE FUNCTION swarms_tell(p_team uuid, p_swarm uuid, p_moves jsonb, p_actor text, p_trace text) RETURNS void
LANGUAGE plpgsql AS $body$
DECLARE v_payloads jsonb[] := '{{}}'; v_told record;
BEGIN
  IF p_moves = '[]' THEN
    RETURN;
  ELSIF jsonb_array_length(p_moves) <= {MOST_MOVES} THEN
    v_payloads := ARRAY[jsonb_build_object('moves', p_moves)];
  ELSE
    FOR v_first IN 0 .. jsonb_array_length(p_moves) - 1 BY {MOST_MOVES} LOOP
      v_payloads := array_append(v_payloads, jsonb_build_object('moves', jsonb_path_query_array(
        p_moves, ('$[' || v_first || ' to ' || v_first + {MOST_MOVES} - 1 || ']')::jsonpath)));
    END LOOP;
  END IF;
  v_told := agent_sessions_publish(p_team, 'swarm:' || p_swarm,
    array_fill('nodes.moved'::text, ARRAY[cardinality(v_payloads)]), v_payloads, p_actor, NULL, p_trace);
END $body$;
"""
DROP_TELL = "DROP FUNCTION swarms_tell(uuid, uuid, jsonb, text, text);"

RELEASE = """
CREATE FUNCTION swarms_release(
  p_team uuid, p_swarm uuid, p_ended uuid[], p_consider uuid[], p_actor text, p_trace text,
  OUT lanes jsonb, OUT asks int
) LANGUAGE plpgsql AS $body$
DECLARE v_moves jsonb;
BEGIN
  SELECT s.moves, s.lanes, s.asks INTO v_moves, lanes, asks FROM swarms_swarm w,
    swarms_spread(p_team, w.id, w.state, w.priority, w.integration_commit, p_ended, p_consider, 0, interval '0') AS s
  WHERE w.id = p_swarm;
  PERFORM swarms_tell(p_team, p_swarm, v_moves, p_actor, p_trace);
END $body$;
"""
DROP_RELEASE = "DROP FUNCTION swarms_release(uuid, uuid, uuid[], uuid[], text, text);"

STEP = f"""
CREATE FUNCTION swarms_step(
  p_team uuid, p_swarm uuid, p_attempts uuid[], p_fences uuid[], p_claim int, p_lease interval,
  OUT claimed jsonb, OUT stale int, OUT lanes jsonb, OUT asks int, OUT waits boolean, OUT is_over boolean
) LANGUAGE plpgsql {BY_INDEX} AS $body$
DECLARE
  v_now timestamptz := clock_timestamp();
  v_state text; v_base text; v_priority int; v_trace text; v_room int; v_spread record;
  v_nodes uuid[]; v_done jsonb; v_moves jsonb; v_more jsonb; v_claimed jsonb;
BEGIN
  SELECT s.state, s.integration_commit, s.priority, s.trace INTO v_state, v_base, v_priority, v_trace
  FROM swarms_swarm s WHERE s.id = p_swarm FOR NO KEY UPDATE;
  WITH ended AS (
    UPDATE swarms_attempt a SET state = 'succeeded', because = 'nothing had to be done', ended_at = v_now,
      lease_until = NULL
    FROM unnest(p_attempts, p_fences) AS d (id, fence)
    WHERE a.id = d.id AND a.fence = d.fence AND a.ended_at IS NULL
    RETURNING a.id, a.node_id, a.number
  ), nodes AS (
    UPDATE swarms_node n SET state = 'succeeded', because = 'nothing had to be done', commit = v_base, ended_at = v_now
    FROM ended e WHERE n.id = e.node_id
    RETURNING n.id, n.key, e.id AS attempt, e.number
  )
  SELECT coalesce(array_agg(n.id), '{{}}'), coalesce(jsonb_agg(jsonb_build_object('noun', 'attempt', 'id', n.attempt,
    'name', n.key || ' ' || n.number, 'before', 'leased', 'after', 'succeeded', 'because', 'nothing had to be done'))
    || jsonb_agg(jsonb_build_object('noun', 'node', 'id', n.id, 'name', n.key, 'before', 'running', 'after',
    'succeeded', 'because', 'nothing had to be done')), '[]')
  INTO v_nodes, v_done FROM nodes n;
  stale := cardinality(p_attempts) - cardinality(v_nodes);
  v_spread := swarms_spread(
    p_team, p_swarm, v_state, v_priority, v_base, v_nodes, '{{}}', p_claim, p_lease);
  claimed := v_spread.claimed; lanes := v_spread.lanes; asks := v_spread.asks;
  v_moves := v_done || v_spread.moves;
  v_room := p_claim - jsonb_array_length(claimed);
  IF v_room > 0 AND v_state IN ({_words(SWARM_STARTS)}) AND EXISTS (
    SELECT 1 FROM public.tenants_ticket x WHERE x.swarm = p_swarm AND x.lane = 'control'
  ) THEN
    WITH taken AS (
      DELETE FROM public.tenants_ticket t USING (
        SELECT x.id FROM public.tenants_ticket x
        WHERE x.swarm = p_swarm AND x.lane = 'control' AND x.not_before <= v_now
        ORDER BY x.priority DESC, x.path DESC, x.created_at, x.id LIMIT v_room
        FOR UPDATE  -- not SKIP LOCKED: who looks for the next turn locks a ticket for that moment
      ) AS x WHERE t.id = x.id RETURNING t.subject
    ), c AS (
      UPDATE swarms_node n SET state = 'running', because = 'its turn has come', attempts_made = n.attempts_made + 1,
        started_at = coalesce(n.started_at, v_now)
      FROM taken t WHERE n.id = t.subject AND n.state = 'ready'
      RETURNING n.id, n.key, n.attempts_made AS number
    ), tried AS ({_attempts("v_base")}
      FROM c RETURNING a.id, a.node_id, a.fence
    )
    SELECT
      coalesce((SELECT jsonb_agg({_CLAIMED}) FROM tried t), '[]'),
      coalesce((SELECT jsonb_agg(jsonb_build_object('noun', 'node', 'id', c.id, 'name', c.key, 'before', 'ready',
        'after', 'running', 'because', 'its turn has come')) FROM c), '[]')
    INTO v_claimed, v_more;
    claimed := claimed || v_claimed;
    v_moves := v_moves || v_more;
  END IF;
  PERFORM swarms_tell(p_team, p_swarm, v_moves, 'system', v_trace);
  waits := false; is_over := false;
  IF jsonb_array_length(claimed) >= p_claim THEN
    waits := EXISTS (SELECT 1 FROM public.tenants_ticket x WHERE x.swarm = p_swarm AND x.lane = 'control');
  ELSIF jsonb_array_length(claimed) = 0 AND lanes = '{{}}' THEN
    is_over := NOT EXISTS (
      SELECT 1 FROM swarms_node n WHERE n.swarm_id = p_swarm AND n.state NOT IN ({_words(NODE_ENDED)}));
  END IF;
  -- Should this worker end before it has followed up, the clock does.
  IF asks > 0 OR is_over THEN
    INSERT INTO public.tenants_due (team_id, kind, subject, due_at)
    VALUES (p_team, 'advance', p_swarm, v_now + interval '2 seconds') ON CONFLICT (kind, subject) DO NOTHING;
  END IF;
  IF lanes ? 'git' THEN
    INSERT INTO public.tenants_due (team_id, kind, subject, due_at)
    VALUES (p_team, 'revert', p_swarm, v_now + interval '2 seconds') ON CONFLICT (kind, subject) DO NOTHING;
  END IF;
END $body$;
"""
DROP_STEP = "DROP FUNCTION swarms_step(uuid, uuid, uuid[], uuid[], int, interval);"

FREEZE_EDGES = """
CREATE FUNCTION swarms_edge_frozen() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
  IF EXISTS (
    SELECT 1 FROM swarms_node WHERE id = CASE WHEN TG_OP = 'DELETE' THEN OLD.child_id ELSE NEW.child_id END
      AND state <> 'blocked'
  ) THEN
    RAISE EXCEPTION 'swarms_edge: the node no longer waits, its edges are frozen' USING ERRCODE = 'check_violation';
  END IF;
  RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END $body$;
CREATE TRIGGER swarms_edge_frozen BEFORE INSERT OR DELETE OR UPDATE OF parent_id, child_id, condition ON swarms_edge
  FOR EACH ROW EXECUTE FUNCTION swarms_edge_frozen();
"""
UNFREEZE_EDGES = "DROP TRIGGER swarms_edge_frozen ON swarms_edge; DROP FUNCTION swarms_edge_frozen();"

ROOM = """
-- Every node is moved a few times: with room on its page, a new version of the row needs no new index entries.
ALTER TABLE swarms_node SET (fillfactor = 50);
ALTER TABLE swarms_edge SET (fillfactor = 80);
"""
NO_ROOM = "ALTER TABLE swarms_node RESET (fillfactor); ALTER TABLE swarms_edge RESET (fillfactor);"

ALL = (
    (ROOM, NO_ROOM),
    (FREEZE_EDGES, UNFREEZE_EDGES),
    (SPREAD, DROP_SPREAD),
    (TELL, DROP_TELL),
    (RELEASE, DROP_RELEASE),
    (STEP, DROP_STEP),
)
