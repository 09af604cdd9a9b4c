"""What the database itself refuses: nodes exposed to too much, and rules that change. Pure text for the migration."""

TRIFECTA = """
  IF NEW.untrusted AND NEW.secrets AND NEW.effects AND NOT NEW.trifecta THEN
    RAISE EXCEPTION 'swarms_node: % has untrusted input, secrets and effects outside, and does not say so', NEW.key
      USING ERRCODE = 'check_violation';
  END IF;
  IF TG_OP = 'UPDATE' AND OLD.trifecta AND NOT NEW.trifecta AND OLD.state <> 'blocked' THEN
    RAISE EXCEPTION 'swarms_node: % no longer waits, what it is exposed to is frozen', NEW.key
      USING ERRCODE = 'check_violation';
  END IF;
  -- Apart from the question below it: what asks a table is not evaluated as cheaply as what looks at the row.
  IF NEW.trifecta AND NEW.state IN ('ready', 'running') THEN
    IF TG_OP = 'INSERT' OR (OLD.state <> NEW.state AND (OLD.state = 'blocked' OR (
      SELECT a.state FROM swarms_approval a WHERE a.node_id = NEW.id AND a.kind = 'node'
      ORDER BY a.requested_at DESC, a.id DESC LIMIT 1) IS DISTINCT FROM 'approved'))
    THEN
      RAISE EXCEPTION 'swarms_node: % has untrusted input, secrets and effects outside: nobody approved it', NEW.key
        USING ERRCODE = 'check_violation';
    END IF;
  END IF;"""
"""Of the trigger of nodes: no node has all three at once without a person's word."""

HEARS = """
CREATE FUNCTION swarms_hears_strangers(p_node uuid) RETURNS boolean LANGUAGE sql STABLE AS $body$
  SELECT n.untrusted OR p.untrusted_input OR (
    -- In nearly every swarm there is none: then nobody has to walk to its beginning.
    EXISTS (SELECT FROM swarms_node a WHERE a.swarm_id = n.swarm_id AND a.untrusted) AND EXISTS (
      WITH RECURSIVE before AS (
        SELECT d.parent_id AS id FROM swarms_edge d WHERE d.child_id = n.id
        UNION SELECT d.parent_id FROM swarms_edge d JOIN before b ON d.child_id = b.id
      ) SELECT FROM before b JOIN swarms_node a ON a.id = b.id AND a.untrusted))
  FROM swarms_node n JOIN swarms_swarm s ON s.id = n.swarm_id JOIN swarms_project p ON p.id = s.project_id
  WHERE n.id = p_node
$body$;
"""
"""Whether an agent of a node reads what strangers wrote, or what an agent before it made of that."""
NO_HEARS = "DROP FUNCTION swarms_hears_strangers(uuid);"

PLACE = """
CREATE FUNCTION swarms_attempt_place() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
  IF EXISTS (
    SELECT 1 FROM swarms_node n
    JOIN agents_execution e ON e.id = NEW.execution_id
    JOIN public.tenants_runner r ON r.id = e.runner_id
    WHERE n.id = NEW.node_id AND n.kind IN ('agent', 'plan') AND n.undoes_id IS NULL AND NOT n.trifecta
      AND (r.sandbox = 'unconfined' OR e.placed ? 'server')
      AND swarms_hears_strangers(n.id)
  ) THEN
    RAISE EXCEPTION 'swarms_attempt: its agent reads strangers'' words and is not locked in: nobody approved it'
      USING ERRCODE = 'check_violation';
  END IF;
  RETURN NEW;
END $body$;
CREATE TRIGGER swarms_attempt_place BEFORE INSERT OR UPDATE OF execution_id, node_id ON swarms_attempt
  FOR EACH ROW WHEN (NEW.execution_id IS NOT NULL) EXECUTE FUNCTION swarms_attempt_place();
"""
"""Who is not locked in has secrets and a way out by that: with strangers' words, all three (see TRIFECTA)."""
NO_PLACE = "DROP TRIGGER swarms_attempt_place ON swarms_attempt; DROP FUNCTION swarms_attempt_place();"

WHOLE_PLACE = """
CREATE FUNCTION swarms_execution_place() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
  IF EXISTS (
    SELECT 1 FROM swarms_swarm s
    JOIN swarms_project p ON p.id = s.project_id
    JOIN public.tenants_runner r ON r.id = NEW.runner_id
    WHERE s.id = NEW.swarm AND (r.sandbox = 'unconfined' OR NEW.placed ? 'server')
      AND (p.untrusted_input OR EXISTS (SELECT FROM swarms_node n WHERE n.swarm_id = s.id AND n.untrusted))
      AND (SELECT a.state FROM swarms_approval a WHERE a.swarm_id = s.id AND a.kind = 'unconfined'
        ORDER BY a.requested_at DESC, a.id DESC LIMIT 1) IS DISTINCT FROM 'approved'
  ) THEN
    RAISE EXCEPTION 'agents_execution: % meets strangers'' words and is not locked in: nobody approved it', NEW.subject
      USING ERRCODE = 'check_violation';
  END IF;
  RETURN NEW;
END $body$;
CREATE TRIGGER swarms_execution_place BEFORE INSERT OR UPDATE OF runner_id, placed ON agents_execution
  FOR EACH ROW WHEN (NEW.kind = 'check' OR NEW.subject LIKE 'plan:%')
  EXECUTE FUNCTION swarms_execution_place();
"""
"""The same for coordinators and checks, about which no node's approval is."""
NO_WHOLE_PLACE = "DROP TRIGGER swarms_execution_place ON agents_execution; DROP FUNCTION swarms_execution_place();"

RULE_FROZEN = """
CREATE FUNCTION swarms_toolrule_frozen() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
  IF OLD.revoked_at IS NOT NULL AND NEW IS DISTINCT FROM OLD THEN
    RAISE EXCEPTION 'swarms_toolrule: a revoked rule is frozen' USING ERRCODE = 'check_violation';
  END IF;
  OLD.position := NEW.position;
  OLD.revoked_at := NEW.revoked_at;
  OLD.revoked_by_id := NEW.revoked_by_id;
  IF NEW IS DISTINCT FROM OLD THEN
    RAISE EXCEPTION 'swarms_toolrule: what a rule says is frozen: revoke it, and make another'
      USING ERRCODE = 'check_violation';
  END IF;
  RETURN NEW;
END $body$;
CREATE TRIGGER swarms_toolrule_frozen BEFORE UPDATE ON swarms_toolrule
  FOR EACH ROW EXECUTE FUNCTION swarms_toolrule_frozen();
"""
THAW_RULES = "DROP TRIGGER swarms_toolrule_frozen ON swarms_toolrule; DROP FUNCTION swarms_toolrule_frozen();"

ALL = ((RULE_FROZEN, THAW_RULES), (HEARS, NO_HEARS), (PLACE, NO_PLACE), (WHOLE_PLACE, NO_WHOLE_PLACE))
