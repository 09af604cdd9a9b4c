"""What the database does for turns and keys in one call. Pure text for the migration."""

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
BEGIN
  -- A team that was idle starts where the others are: idleness earns no credit (start-time fair queueing).
  IF NOT EXISTS (SELECT 1 FROM public.tenants_ticket WHERE team_id = p_team) THEN
    UPDATE public.tenants_teamshare SET virtual_time = greatest(virtual_time, coalesce((
      SELECT min(s.virtual_time) FROM public.tenants_teamshare s
      WHERE EXISTS (SELECT 1 FROM public.tenants_ticket t WHERE t.team_id = s.team_id)
    ), 0)) WHERE team_id = p_team;
  END IF;
END $body$;
"""
DROP_WAKE_SHARE = "DROP FUNCTION public.tenants_wake_share(uuid);"
