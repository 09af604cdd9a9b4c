"""Events are written by the database in one call: number, rows, announcement. Pure text for the migration."""

from sessions.kinds import DECISIONS

PUBLISH = """
CREATE FUNCTION agent_sessions_publish(
  p_team uuid, p_subject text, p_kinds text[], p_payloads jsonb[], p_actor text, p_cause uuid, p_trace text,
  OUT ids uuid[], OUT last bigint, OUT moment timestamptz
) LANGUAGE plpgsql AS $body$
DECLARE v_count int := cardinality(p_kinds);
BEGIN
  moment := clock_timestamp();
  -- The subject's row serialises its events: numbers have no gaps and follow the order of commits.
  INSERT INTO agent_sessions_subject AS s (name, last_seq) VALUES (p_subject, v_count)
  ON CONFLICT (name) DO UPDATE SET last_seq = s.last_seq + v_count RETURNING s.last_seq INTO last;
  WITH written AS (
    INSERT INTO agent_sessions_event AS e (id, subject, seq, kind, payload, actor, cause, trace, at)
    SELECT public.tenants_uuid7(), p_subject, last - v_count + n, p_kinds[n], p_payloads[n], p_actor, p_cause,
      p_trace, moment
    FROM generate_series(1, v_count) AS n
    RETURNING e.id, e.seq
  ) SELECT array_agg(w.id ORDER BY w.seq) INTO ids FROM written w;
  INSERT INTO public.tenants_outbox (team_id, event) SELECT p_team, unnest(ids);
  NOTIFY waggle_outbox;
END $body$;
"""
DROP_PUBLISH = "DROP FUNCTION agent_sessions_publish(uuid, text, text[], jsonb[], text, uuid, text);"

NUMBER = """
CREATE FUNCTION agent_sessions_number(p_team uuid, p_batch int) RETURNS int LANGUAGE plpgsql AS $body$
DECLARE v_last bigint; v_count int;
BEGIN
  INSERT INTO agent_sessions_stream AS s (id, last_position) VALUES (1, 0)
  ON CONFLICT (id) DO UPDATE SET last_position = s.last_position RETURNING s.last_position INTO v_last;
  WITH picked AS (
    SELECT outbox.id AS place, event.id FROM public.tenants_outbox AS outbox
    JOIN agent_sessions_event AS event ON event.id = outbox.event
    WHERE outbox.team_id = p_team AND event.position IS NULL ORDER BY outbox.id LIMIT p_batch
  ), numbered AS (SELECT picked.id, v_last + row_number() OVER (ORDER BY place) AS position FROM picked)
  UPDATE agent_sessions_event AS event SET position = numbered.position FROM numbered WHERE event.id = numbered.id;
  GET DIAGNOSTICS v_count = ROW_COUNT;
  IF v_count > 0 THEN
    UPDATE agent_sessions_stream SET last_position = v_last + v_count WHERE id = 1;
  END IF;
  RETURN v_count;
END $body$;
"""
DROP_NUMBER = "DROP FUNCTION agent_sessions_number(uuid, int);"

_DECIDED = "kind IN ({})".format(", ".join(f"'{kind}'" for kind in DECISIONS))
DECISION_WORDS = """jsonb_to_tsvector('english', payload, '["string"]')"""
"""What the words of a decision are looked for in."""
DECISION_INDEXES = f"""
CREATE INDEX decision_time ON agent_sessions_event (at, seq, id) WHERE {_DECIDED};
CREATE INDEX decision_words ON agent_sessions_event USING gin (({DECISION_WORDS})) WHERE {_DECIDED};
"""
DROP_DECISION_INDEXES = "DROP INDEX decision_time; DROP INDEX decision_words;"

ALL = ((PUBLISH, DROP_PUBLISH), (NUMBER, DROP_NUMBER), (DECISION_INDEXES, DROP_DECISION_INDEXES))
