"""Events are written by the database in one call: number, rows, announcement. Pure text for the migration."""

from sessions.kinds import DECISIONS
from sessions.states import WEBHOOK_MOVES
from tenants.procedures import BY_INDEX
from tenants.triggers import drop_move_trigger, move_trigger

PUBLISH = """
CREATE FUNCTION agent_sessions_publish(
  p_team uuid, p_subject text, p_kinds text[], p_payloads jsonb[], p_actor text, p_cause uuid, p_trace text,
  OUT ids uuid[], OUT last bigint, OUT moment timestamptz
) LANGUAGE plpgsql AS $body$
DECLARE v_count int := cardinality(p_kinds); v_id uuid;
BEGIN
  moment := clock_timestamp();
  -- The subject's row serialises its events: numbers have no gaps and follow the order of commits.
  INSERT INTO agent_sessions_subject AS s (name, last_seq) VALUES (p_subject, v_count)
  ON CONFLICT (name) DO UPDATE SET last_seq = s.last_seq + v_count RETURNING s.last_seq INTO last;
  -- One by one: mostly there is one, and for one the plainest statement is the cheapest by far.
  FOR n IN 1 .. v_count LOOP
    v_id := public.tenants_uuid7();
    INSERT INTO agent_sessions_event (id, subject, seq, kind, payload, actor, cause, trace, at)
    VALUES (v_id, p_subject, last - v_count + n, p_kinds[n], p_payloads[n], p_actor, p_cause, p_trace, moment);
    INSERT INTO public.tenants_outbox (team_id, event) VALUES (p_team, v_id);
    ids := array_append(ids, v_id);
  END LOOP;
  NOTIFY waggle_outbox;
END $body$;
"""
DROP_PUBLISH = "DROP FUNCTION agent_sessions_publish(uuid, text, text[], jsonb[], text, uuid, text);"

NUMBER = f"""
CREATE FUNCTION agent_sessions_number(p_team uuid, p_batch int, OUT numbered int, OUT woken uuid[])
LANGUAGE plpgsql {BY_INDEX} AS $body$
DECLARE v_last bigint; v_events uuid[];
BEGIN
  INSERT INTO agent_sessions_stream AS s (id, last_position) VALUES (1, 0)
  ON CONFLICT (id) DO UPDATE SET last_position = s.last_position RETURNING s.last_position INTO v_last;
  -- In two statements, so that no plan can read the events more than once: the outbox leads to its events by their ids
  -- (OFFSET and coalesce keep other ways out), and these are a list when they are written to.
  SELECT array_agg(picked.id ORDER BY picked.place) INTO v_events FROM (
    SELECT outbox.id AS place, event.id FROM public.tenants_outbox AS outbox
    CROSS JOIN LATERAL (
      SELECT e.id FROM agent_sessions_event AS e WHERE e.id = outbox.event AND coalesce(e.position, 0) = 0 OFFSET 0
    ) AS event
    WHERE outbox.team_id = p_team ORDER BY outbox.id LIMIT p_batch
  ) AS picked;
  UPDATE agent_sessions_event AS event SET position = v_last + array_position(v_events, event.id)
  WHERE event.id = ANY (v_events);
  GET DIAGNOSTICS numbered = ROW_COUNT;
  IF numbered > 0 THEN
    UPDATE agent_sessions_stream SET last_position = v_last + numbered WHERE id = 1;
    -- Whoever is behind the stream is looked at: now, or a little after its last turn, or when it is no longer held.
    WITH due AS (
      INSERT INTO public.tenants_due AS d (team_id, kind, subject, due_at)
      SELECT p_team, 'webhook', id, greatest(clock_timestamp(), hold_until, turned_at + interval '250 ms')
      FROM agent_sessions_webhook
      WHERE state = 'enabled'
      ON CONFLICT (kind, subject) DO UPDATE SET due_at = EXCLUDED.due_at WHERE d.due_at > EXCLUDED.due_at
      RETURNING d.subject, d.due_at
    ) SELECT array_agg(subject) INTO woken FROM due WHERE due_at <= clock_timestamp();
  END IF;
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

WEBHOOK_TABLE = "agent_sessions_webhook"

ALL = (
    (PUBLISH, DROP_PUBLISH),
    (NUMBER, DROP_NUMBER),
    (DECISION_INDEXES, DROP_DECISION_INDEXES),
    (move_trigger(WEBHOOK_TABLE, WEBHOOK_MOVES), drop_move_trigger(WEBHOOK_TABLE)),
)
