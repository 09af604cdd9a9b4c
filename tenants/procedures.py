"""What the database does for turns and keys in one call. Pure text for the migration."""

LANES = ("agent", "control", "git")
"""Who serves a ticket: a runner, a worker, or a worker with a repository."""
BY_INDEX = """SET plan_cache_mode TO force_generic_plan SET enable_seqscan TO off SET enable_bitmapscan TO off
  SET enable_hashjoin TO off SET enable_mergejoin TO off SET jit TO off"""
"""Each statement touches a few rows by key. One plan for all calls, through indexes, whatever statistics say: a plan
that was made while a table was small would read all of it later."""
AGE_SECONDS = 300
"""A ticket's priority is one higher for so many seconds of waiting."""
# All tickets grow old at the same pace: who is first among two never changes, so the order is an index, not an UPDATE.
RANK = f"(priority - floor(extract(epoch FROM created_at AT TIME ZONE 'UTC') / {AGE_SECONDS})::int)"
ORDER = f"{RANK} DESC, path DESC, created_at, id"
"""Inside a team: priority with age, then the critical path, then who came first."""

TURN_INDEX = f"""
CREATE INDEX tenants_ticket_turn ON public.tenants_ticket (lane, team_id, {ORDER});
"""
DROP_TURN_INDEX = "DROP INDEX public.tenants_ticket_turn;"

UUID7 = """
CREATE FUNCTION public.tenants_uuid7() RETURNS uuid LANGUAGE sql VOLATILE AS $body$
  -- RFC 9562, version 7: 48 bits of milliseconds, then chance. (Postgres 18 has uuidv7(); older ones serve as well.)
  SELECT encode(
    set_bit(set_bit(overlay(uuid_send(gen_random_uuid()) placing
      substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6), 52, 1), 53, 1),
    'hex')::uuid
$body$;
"""
DROP_UUID7 = "DROP FUNCTION public.tenants_uuid7();"

WAKE_SHARE = """
CREATE FUNCTION public.tenants_wake_share(p_team uuid) RETURNS void LANGUAGE plpgsql AS $body$
DECLARE v_clock float8;
BEGIN
  -- A team that was idle starts where the last turn started: idleness earns no credit (start-time fair queueing).
  IF EXISTS (SELECT 1 FROM public.tenants_ticket WHERE lane IN ({lanes}) AND team_id = p_team) THEN RETURN; END IF;
  SELECT max(last_start) INTO v_clock FROM public.tenants_teamshare;
  -- Who queues holds a swarm, and who gives out turns waits for swarms: never wait here. A share that is locked just
  -- now has its turn, so it does not lag behind.
  PERFORM 1 FROM public.tenants_teamshare WHERE team_id = p_team AND virtual_time < v_clock
    FOR NO KEY UPDATE SKIP LOCKED;
  IF FOUND THEN
    UPDATE public.tenants_teamshare SET virtual_time = v_clock, credit = CASE
      WHEN EXISTS (SELECT 1 FROM public.tenants_placement WHERE team_id = p_team) THEN credit ELSE 0 END
    WHERE team_id = p_team AND virtual_time < v_clock;
  END IF;
END $body$;
""".replace("{lanes}", ", ".join(f"'{lane}'" for lane in LANES))
DROP_WAKE_SHARE = "DROP FUNCTION public.tenants_wake_share(uuid);"


def _active(lane: str) -> str:
    """The teams with tickets, found by as many steps through the index as there are such teams."""
    first = "SELECT t.team_id FROM public.tenants_ticket t WHERE t.lane = '{lane}'{more} ORDER BY t.team_id LIMIT 1"
    return f"""active (team_id) AS (
      ({first.format(lane=lane, more="")})
      UNION ALL
      SELECT ({first.format(lane=lane, more=" AND t.team_id > a.team_id")}) FROM active a WHERE a.team_id IS NOT NULL
    )"""


NEXT_TICKET = f"""
CREATE FUNCTION public.tenants_next_ticket(p_team uuid, p_trusted boolean) RETURNS bigint LANGUAGE plpgsql AS $body$
DECLARE v_team uuid; v_cap int; v_ticket bigint;
BEGIN
  FOR v_team IN
    WITH RECURSIVE {_active("agent")}, held AS (
      SELECT p.team_id, count(*) AS n FROM public.tenants_placement p GROUP BY p.team_id
    )
    SELECT s.team_id FROM active a JOIN public.tenants_teamshare s ON s.team_id = a.team_id
    LEFT JOIN held h ON h.team_id = s.team_id
    WHERE (p_team IS NULL OR s.team_id = p_team) AND coalesce(h.n, 0) < s.cap
    ORDER BY s.virtual_time, s.team_id
  LOOP
    -- Whoever places something of a team holds its share until that is committed: so the cap is never exceeded.
    SELECT s.cap INTO v_cap FROM public.tenants_teamshare s WHERE s.team_id = v_team FOR NO KEY UPDATE SKIP LOCKED;
    CONTINUE WHEN NOT FOUND;
    CONTINUE WHEN v_cap <= (SELECT count(*) FROM public.tenants_placement p WHERE p.team_id = v_team);
    SELECT id INTO v_ticket FROM public.tenants_ticket
    WHERE lane = 'agent' AND team_id = v_team AND not_before <= statement_timestamp()
      AND (p_trusted OR kind <> 'checks')
    ORDER BY {ORDER} LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF FOUND THEN RETURN v_ticket; END IF;
  END LOOP;
  RETURN NULL;
END $body$;
"""
DROP_NEXT_TICKET = "DROP FUNCTION public.tenants_next_ticket(uuid, boolean);"

NEXT_CONTROL = f"""
CREATE FUNCTION public.tenants_next_control(OUT team uuid, OUT swarm uuid) LANGUAGE plpgsql AS $body$
BEGIN
  FOR team IN
    WITH RECURSIVE {_active("control")}
    SELECT s.team_id FROM active a JOIN public.tenants_teamshare s ON s.team_id = a.team_id
    ORDER BY s.virtual_time, s.team_id
  LOOP
    SELECT t.swarm INTO swarm FROM public.tenants_ticket t
    WHERE lane = 'control' AND team_id = team AND not_before <= statement_timestamp()
    ORDER BY {ORDER} LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF FOUND THEN RETURN; END IF;
  END LOOP;
  team := NULL; swarm := NULL;
END $body$;
"""
DROP_NEXT_CONTROL = "DROP FUNCTION public.tenants_next_control();"

ALL = (
    (UUID7, DROP_UUID7),
    (WAKE_SHARE, DROP_WAKE_SHARE),
    (TURN_INDEX, DROP_TURN_INDEX),
    (NEXT_TICKET, DROP_NEXT_TICKET),
    (NEXT_CONTROL, DROP_NEXT_CONTROL),
)
