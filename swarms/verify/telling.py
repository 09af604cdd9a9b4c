"""Invariants of events: numbers without gaps, and a story that leads to what is. Pure text."""

from agents.states import EXECUTION_MOVES, SERVER_MOVES
from sessions.states import WEBHOOK_MOVES
from swarms.states import MACHINES, NODE_ENDED
from swarms.verify.invariant import Invariant, words

MOVES = MACHINES | {"execution": EXECUTION_MOVES, "server": SERVER_MOVES, "webhook": WEBHOOK_MOVES}
START = {noun: next(iter(moves)) for noun, moves in MOVES.items()}
"""Rows of a noun are made in the first state of its table."""
_LEGAL = ", ".join(f"('{noun}', '{a}', '{b}')" for noun in MOVES for a in MOVES[noun] for b in sorted(MOVES[noun][a]))
_STARTS = ", ".join(f"('{noun}', '{state}')" for noun, state in START.items())
_OF = "(%(subject)s::text IS NULL OR e.subject = %(subject)s)"
_SWARM = "substring({subject} FROM '^swarm:(.*)$')::uuid"

_MOVED = f"""moved AS MATERIALIZED (
  SELECT e.subject, e.seq, 0::bigint AS place, split_part(e.kind, '.', 1) AS noun, e.payload ->> 'id' AS id,
    e.payload ->> 'name' AS name, e.payload ->> 'before' AS before, e.payload ->> 'after' AS after
  FROM agent_sessions_event e WHERE e.kind IN ({words(f"{noun}.moved" for noun in MOVES)}) AND {_OF}
  UNION ALL
  SELECT e.subject, e.seq, m.place, m.value ->> 'noun', m.value ->> 'id', m.value ->> 'name', m.value ->> 'before',
    m.value ->> 'after'
  FROM agent_sessions_event e, jsonb_array_elements(e.payload -> 'moves') WITH ORDINALITY AS m (value, place)
  WHERE e.kind = 'nodes.moved' AND {_OF}
)"""
_PLACES = {
    "project": ("swarms_project", "NULL::uuid"),
    "swarm": ("swarms_swarm", "r.id"),
    "attempt": ("swarms_attempt", "(SELECT n.swarm_id FROM swarms_node n WHERE n.id = r.node_id)"),
    "execution": ("agents_execution", "r.swarm"),
    "server": ("agents_server", "NULL::uuid"),
    "webhook": ("agent_sessions_webhook", "NULL::uuid"),
}
TABLES = {noun: _PLACES.get(noun, (f"swarms_{noun.replace('_', '')}", "r.swarm_id")) for noun in MOVES}
"""Where the rows of a noun are, and how to say whose swarm's they are."""
ROWS = " UNION ALL ".join(
    f"SELECT '{noun}' AS noun, r.id::text AS id, r.state, {swarm} AS swarm FROM {table} r"
    for noun, (table, swarm) in TABLES.items()
)
"""The state of every row that moves."""

INVARIANTS = (
    Invariant(
        "events_gapless",
        "Events of a subject are numbered 1, 2, 3 … and the subject's counter is at the last.",
        f"""
        SELECT coalesce(s.name, e.subject) AS id, {_SWARM.format(subject="coalesce(s.name, e.subject)")} AS swarm,
          concat(coalesce(s.name, e.subject), ': ', coalesce(e.n, 0), ' events numbered ', e.first, ' to ', e.last,
          ', and the counter is at ', coalesce(s.last_seq::text, 'nothing')) AS says
        FROM agent_sessions_subject s FULL JOIN (
          SELECT e.subject, count(*) AS n, min(e.seq) AS first, max(e.seq) AS last
          FROM agent_sessions_event e WHERE {_OF} GROUP BY e.subject
        ) AS e ON e.subject = s.name
        WHERE (%(subject)s::text IS NULL OR s.name = %(subject)s)
          AND (s.last_seq IS DISTINCT FROM coalesce(e.last, 0) OR coalesce(e.last, 0) <> coalesce(e.n, 0)
          OR e.first <> 1)
        """,
    ),
    Invariant(
        "events_in_order",
        "Events take their places in the team's stream in the order of their numbers, none beyond its counter.",
        f"""
        SELECT o.id::text AS id, {_SWARM.format(subject="o.subject")} AS swarm, concat(o.subject, ' number ', o.seq,
          ' is at ', o.position, ', after ', o.last, '; the stream is at ', o.counter) AS says
        FROM (
          SELECT e.id, e.subject, e.seq, e.position,
            lag(e.position) OVER (PARTITION BY e.subject ORDER BY e.seq) AS last,
            coalesce((SELECT last_position FROM agent_sessions_stream WHERE id = 1), 0) AS counter
          FROM agent_sessions_event e WHERE e.position IS NOT NULL AND {_OF}
        ) AS o WHERE o.position <= o.last OR o.position > o.counter
        """,
    ),
    Invariant(
        "events_announced",
        "An event without a place in the team's stream waits in the outbox.",
        f"""
        SELECT e.id::text AS id, {_SWARM.format(subject="e.subject")} AS swarm,
          concat(e.subject, ' number ', e.seq, ' (', e.kind, ') will never be announced') AS says
        FROM agent_sessions_event e WHERE e.position IS NULL AND {_OF} AND NOT EXISTS (
          SELECT FROM public.tenants_outbox o WHERE o.event = e.id AND o.team_id = %(team)s)
        """,
    ),
    Invariant(
        "moves_legal",
        "Every move that was told is in the table of moves.",
        f"""
        WITH {_MOVED}
        SELECT m.id, {_SWARM.format(subject="m.subject")} AS swarm,
          concat(m.noun, ' ', m.name, ': there is no move from ', m.before, ' to ', m.after) AS says
        FROM moved m LEFT JOIN (VALUES {_LEGAL}) AS legal (noun, before, after) USING (noun, before, after)
        WHERE legal.noun IS NULL
        """,
    ),
    Invariant(
        "moves_join",
        "Every move begins in the state where the one before ended; the first, where rows of its kind are made.",
        f"""
        WITH {_MOVED}
        SELECT c.id, {_SWARM.format(subject="c.subject")} AS swarm, concat(c.noun, ' ', c.name,
          ': an event moves it from ', c.before, ', but it was ', c.was) AS says
        FROM (
          SELECT m.*,
            coalesce(lag(m.after) OVER (PARTITION BY m.noun, m.id ORDER BY m.seq, m.place), starts.state) AS was
          FROM moved m LEFT JOIN (VALUES {_STARTS}) AS starts (noun, state) USING (noun)
        ) AS c WHERE c.before <> c.was
        """,
    ),
    Invariant(
        "state_told",
        "Every row is in the state where its last event left it.",
        f"""
        WITH {_MOVED}, last AS (
          SELECT DISTINCT ON (m.noun, m.id) m.noun, m.id, m.after FROM moved m
          ORDER BY m.noun, m.id, m.seq DESC, m.place DESC
        )
        SELECT r.id, r.swarm, concat(r.noun, ' ', r.id, ' is ', r.state, ', and its events say ',
          coalesce(l.after, starts.state)) AS says
        FROM ({ROWS}) AS r JOIN (VALUES {_STARTS}) AS starts (noun, state) USING (noun)
        LEFT JOIN last l USING (noun, id) WHERE r.state <> coalesce(l.after, starts.state)
        """,
    ),
    Invariant(
        "began_in_turn",
        "No node began before its parents had ended; with any_success, not before one had.",
        f"""
        WITH {_MOVED}, steps AS (
          SELECT m.id::uuid AS id, m.after, m.seq * 1000 + m.place AS at FROM moved m WHERE m.noun = 'node'
        ), began AS (
          SELECT id, min(at) AS at FROM steps WHERE after = 'running' GROUP BY id
        ), ended AS (
          SELECT id, min(at) AS at FROM steps WHERE after IN ({words(NODE_ENDED)}) GROUP BY id
        )
        SELECT c.id::text AS id, c.swarm_id AS swarm, concat(c.key, ' began before its parents had ended: ',
          count(*) FILTER (WHERE ended.at < began.at), ' of ', count(*), ' had') AS says
        FROM began JOIN swarms_node c ON c.id = began.id JOIN swarms_edge e ON e.child_id = c.id
        LEFT JOIN ended ON ended.id = e.parent_id GROUP BY c.id
        HAVING count(*) FILTER (WHERE ended.at < began.at) < CASE c.fan_in WHEN 'any_success' THEN 1 ELSE count(*) END
        """,
    ),
)
