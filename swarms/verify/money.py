"""Invariants of money: budgets, what live executions have set aside, and calls that were metered. Pure text."""

from swarms.verify.invariant import Invariant

_LIVE = "x.state IN ('leased', 'running')"
_SWARM = "substring(b.subject FROM '^swarm:(.*)$')::uuid"

INVARIANTS = (
    Invariant(
        "budget_line",
        "What is spent and what is set aside never exceed a budget's limit.",
        f"""
        SELECT b.id::text AS id, {_SWARM} AS swarm, concat(b.subject, ': spent ',
          b.spent_microusd, ' and reserved ', b.reserved_microusd, ' of ', b.limit_microusd, ' millionths') AS says
        FROM agents_budget b WHERE b.spent_microusd < 0 OR b.reserved_microusd < 0
          OR b.spent_microusd + b.reserved_microusd > b.limit_microusd
        """,
    ),
    Invariant(
        "budget_full",
        "A budget that keeps apart what was charged beyond its limit has no room: else it would be spent.",
        f"""
        SELECT b.id::text AS id, {_SWARM} AS swarm, concat(b.subject, ': ', b.over_microusd,
          ' millionths are kept apart, and ', b.spent_microusd, ' spent and ', b.reserved_microusd, ' reserved of ',
          b.limit_microusd) AS says
        FROM agents_budget b
        WHERE b.over_microusd > 0 AND b.spent_microusd + b.reserved_microusd < b.limit_microusd
        """,
    ),
    Invariant(
        "budget_limit",
        "A budget's limit is the one that was told last, or else the one that the plan gives its node.",
        f"""
        WITH told AS (
          SELECT DISTINCT ON (1) e.payload ->> 'budget' AS subject, (e.payload ->> 'limit_microusd')::bigint AS line
          FROM agent_sessions_event e
          WHERE e.kind = 'budget.set' AND (%(subject)s::text IS NULL OR e.subject = %(subject)s) ORDER BY 1, e.seq DESC
        ), planned AS (
          SELECT 'node:' || n.id AS subject, round((w.node ->> 'budget_usd')::numeric * 1000000)::bigint AS line
          FROM swarms_plan p, jsonb_path_query(p.document, '$.nodes[*] ? (@.budget_usd >= 0)') AS w (node)
          JOIN swarms_node n ON n.key = w.node ->> 'key' WHERE n.plan_id = p.id
        ), said AS (
          SELECT t.subject, t.line FROM told t
          UNION ALL SELECT p.subject, p.line FROM planned p WHERE NOT EXISTS (
            SELECT FROM told t WHERE t.subject = p.subject)
        )
        SELECT b.subject AS id, coalesce({_SWARM}, n.swarm_id) AS swarm, concat(b.subject, ' has the limit ',
          coalesce(b.has::text, 'none'), ', and was given ', coalesce(b.given::text, 'none'), ', in millionths') AS says
        FROM (
          SELECT coalesce(x.subject, s.subject) AS subject, x.limit_microusd AS has, s.line AS given
          FROM said s FULL JOIN agents_budget x ON x.subject = s.subject
          WHERE x.limit_microusd IS DISTINCT FROM s.line
        ) AS b LEFT JOIN swarms_node n ON 'node:' || n.id = b.subject
        """,
    ),
    Invariant(
        "budget_reserved",
        "What a budget sets aside is what its live executions have set aside.",
        f"""
        SELECT b.id::text AS id, {_SWARM} AS swarm, concat(b.subject, ': ',
          b.reserved_microusd, ' millionths are reserved, and live executions hold ', coalesce(held.amount, 0)) AS says
        FROM agents_budget b LEFT JOIN (
          SELECT s.name #>> '{{}}' AS subject, sum(x.reserved_microusd) AS amount
          FROM agents_execution x, jsonb_path_query(x.budgets, '$[*]') AS s (name) WHERE {_LIVE} GROUP BY 1
        ) AS held ON held.subject = b.subject
        WHERE b.reserved_microusd <> coalesce(held.amount, 0)
        """,
    ),
    Invariant(
        "budget_spent",
        "What a budget has spent is what the model calls of all that draws on it cost; beyond its limit it is apart.",
        f"""
        SELECT b.id::text AS id, {_SWARM} AS swarm, concat(b.subject, ': ', b.spent_microusd, ' and ', b.over_microusd,
          ' beyond its limit, in millionths, are spent, and calls cost ', coalesce(paid.amount, 0)) AS says
        FROM agents_budget b LEFT JOIN (
          SELECT s.name #>> '{{}}' AS subject, sum(c.amount) AS amount FROM (
            SELECT m.execution_id, sum(m.cost_microusd) AS amount FROM agents_modelcall m
            WHERE m.cost_microusd > 0 GROUP BY m.execution_id
          ) AS c JOIN agents_execution x ON x.id = c.execution_id, jsonb_path_query(x.budgets, '$[*]') AS s (name)
          GROUP BY 1
        ) AS paid ON paid.subject = b.subject
        WHERE b.over_microusd < 0 OR b.spent_microusd + b.over_microusd <> coalesce(paid.amount, 0)
        """,
    ),
    Invariant(
        "calls_are_booked",
        "A live execution has spent what its model calls cost, and holds what is held for those under way; one that has"
        " ended has spent no more.",
        f"""
        SELECT x.id::text AS id, x.swarm, concat(x.kind, ' ', x.subject, ': ', x.spent_microusd, ' spent and ',
          x.held_microusd, ' held; its calls cost ', coalesce(paid.amount, 0), ' and hold ', coalesce(held.amount, 0))
          AS says
        FROM agents_execution x LEFT JOIN (
          SELECT m.execution_id, sum(m.cost_microusd) AS amount FROM agents_modelcall m GROUP BY m.execution_id
        ) AS paid ON paid.execution_id = x.id LEFT JOIN (
          SELECT h.execution_id, sum(h.microusd) AS amount FROM agents_heldcall h GROUP BY h.execution_id
        ) AS held ON held.execution_id = x.id
        WHERE x.spent_microusd > coalesce(paid.amount, 0) OR {_LIVE} AND (
          x.spent_microusd < coalesce(paid.amount, 0) OR x.held_microusd <> coalesce(held.amount, 0))
        """,
    ),
)
