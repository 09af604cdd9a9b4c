"""Events are written by the database in one call: number, rows, announcement. Pure text for the migration."""

PUBLISH = """
CREATE FUNCTION agent_sessions_publish(
  p_team uuid, p_subject text, p_kinds text[], p_payloads jsonb[], p_actor text, p_cause uuid, p_trace text
) RETURNS TABLE (id uuid, seq bigint, at timestamptz) LANGUAGE plpgsql AS $body$
DECLARE
  v_count int := cardinality(p_kinds);
  v_last bigint;
BEGIN
  -- The subject's row serialises its events: numbers have no gaps and follow the order of commits.
  INSERT INTO agent_sessions_subject AS s (name, last_seq) VALUES (p_subject, v_count)
  ON CONFLICT (name) DO UPDATE SET last_seq = s.last_seq + v_count RETURNING s.last_seq INTO v_last;
  RETURN QUERY
  WITH written AS (
    INSERT INTO agent_sessions_event AS e (id, subject, seq, kind, payload, actor, cause, trace, at)
    SELECT public.tenants_uuid7(), p_subject, v_last - v_count + n, p_kinds[n], p_payloads[n], p_actor, p_cause,
      p_trace, clock_timestamp()
    FROM generate_series(1, v_count) AS n
    RETURNING e.id, e.seq, e.at
  ), announced AS (
    INSERT INTO public.tenants_outbox (team_id, event) SELECT p_team, w.id FROM written w ORDER BY w.seq
  )
  SELECT w.id, w.seq, w.at FROM written w ORDER BY w.seq;
  NOTIFY waggle_outbox;
END $body$;
"""
DROP_PUBLISH = "DROP FUNCTION agent_sessions_publish(uuid, text, text[], jsonb[], text, uuid, text);"
