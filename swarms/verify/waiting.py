"""Invariants of turns, leases and approvals: what waits, and who looks at it. Pure text."""

from swarms.states import SWARM_AT_WORK, SWARM_ENDED, SWARM_STARTS, SWARM_UNDOES, SwarmState
from swarms.verify.invariant import Invariant, words

_STARTS = words(SWARM_STARTS)
_LIVE = "x.state IN ('leased', 'running')"
_NO_DEADLINE = words(SWARM_ENDED | SWARM_UNDOES | {SwarmState.CANCELLING, SwarmState.FAILING})
_CLOCKS = words(
    {"lease", "close", "stall", "approval", "swarm_deadline", "order", "advance", "step", "merge", "revert", "land"}
)
"""Kinds of due times that come within an hour of what they are about."""

INVARIANTS = (
    Invariant(
        "ready_has_ticket",
        "A ready node of a swarm that starts nodes has a ticket, in its own lane.",
        f"""
        SELECT n.id::text AS id, n.swarm_id AS swarm, concat(n.key, ' is ready and has no ticket') AS says
        FROM swarms_node n JOIN swarms_swarm s ON s.id = n.swarm_id
        WHERE n.state = 'ready' AND s.state IN ({_STARTS}) AND NOT EXISTS (
          SELECT FROM public.tenants_ticket t
          WHERE t.kind = 'node' AND t.subject = n.id AND t.team_id = %(team)s AND t.swarm = n.swarm_id
            AND t.lane = CASE n.kind WHEN 'noop' THEN 'control' WHEN 'revert' THEN 'git' ELSE 'agent' END)
        """,
    ),
    Invariant(
        "waiting_checks_have_ticket",
        "Checks that wait have a ticket.",
        """
        SELECT r.id::text AS id, r.swarm_id AS swarm, concat('checks (', r.purpose, ') wait without a ticket') AS says
        FROM swarms_checkrun r WHERE r.state = 'waiting' AND NOT EXISTS (
          SELECT FROM public.tenants_ticket t
          WHERE t.kind = 'checks' AND t.subject = r.id AND t.team_id = %(team)s)
        """,
    ),
    Invariant(
        "draft_is_written",
        "A plan that is being drafted has a ticket or a live execution; one for a node's details has that node's.",
        f"""
        SELECT p.id::text AS id, p.swarm_id AS swarm, concat('plan ', p.version, ' is drafted by nobody') AS says
        FROM swarms_plan p WHERE p.state = 'drafting' AND p.node_id IS NULL AND NOT EXISTS (
          SELECT FROM public.tenants_ticket t WHERE t.kind = 'plan' AND t.subject = p.id AND t.team_id = %(team)s)
          AND NOT EXISTS (SELECT FROM agents_execution x WHERE x.subject = 'plan:' || p.id AND {_LIVE})
        """,
    ),
    Invariant(
        "ticket_is_wanted",
        "A ticket stands for a ready node of a swarm that starts nodes, a plan that is drafted or checks that wait.",
        f"""
        SELECT t.id::text AS id, t.swarm, concat('a ticket for ', t.kind, ' ', t.subject, ', which does not wait')
          AS says
        FROM public.tenants_ticket t WHERE t.team_id = %(team)s AND NOT CASE t.kind
          WHEN 'node' THEN EXISTS (SELECT FROM swarms_node n JOIN swarms_swarm s ON s.id = n.swarm_id
            WHERE n.id = t.subject AND n.state = 'ready' AND s.state IN ({_STARTS}))
          WHEN 'plan' THEN EXISTS (SELECT FROM swarms_plan p WHERE p.id = t.subject AND p.state = 'drafting')
          ELSE EXISTS (SELECT FROM swarms_checkrun r WHERE r.id = t.subject AND r.state = 'waiting') END
        """,
        settles=True,  # one that is being called up just now is not taken back: who called it finds it unwanted
    ),
    Invariant(
        "live_is_placed",
        "Executions are placed on a runner exactly while they are live.",
        f"""
        SELECT x.id::text AS id, x.swarm, concat(x.kind, ' ', x.subject, ' is ', x.state, ' and placed nowhere') AS says
        FROM agents_execution x WHERE {_LIVE} AND NOT EXISTS (
          SELECT FROM public.tenants_placement p WHERE p.execution = x.id AND p.team_id = %(team)s)
        UNION ALL
        SELECT p.execution::text, x.swarm, concat('execution ', p.execution, ' is ', coalesce(x.state, 'gone'),
          ' and holds a place')
        FROM public.tenants_placement p LEFT JOIN agents_execution x ON x.id = p.execution
        WHERE p.team_id = %(team)s AND ({_LIVE}) IS NOT TRUE
        """,
    ),
    Invariant(
        "lease_is_watched",
        "Leases of executions are due to be looked at exactly while the executions are live.",
        f"""
        SELECT x.id::text AS id, x.swarm, concat(x.kind, ' ', x.subject, ' is ', x.state,
          ', and nobody watches its lease') AS says
        FROM agents_execution x WHERE {_LIVE} AND NOT EXISTS (
          SELECT FROM public.tenants_due d WHERE d.kind = 'lease' AND d.subject = x.id AND d.team_id = %(team)s)
        UNION ALL
        SELECT d.subject::text, x.swarm, concat('execution ', d.subject, ' is ', coalesce(x.state, 'gone'),
          ', and its lease is still due')
        FROM public.tenants_due d LEFT JOIN agents_execution x ON x.id = d.subject
        WHERE d.kind = 'lease' AND d.team_id = %(team)s AND ({_LIVE}) IS NOT TRUE
        """,
    ),
    Invariant(
        "deadline_is_watched",
        "The deadline of a swarm is due while it may still make the swarm fail, and never without one.",
        f"""
        SELECT s.id::text AS id, s.id AS swarm, concat('the swarm is ', s.state, ', its deadline is ',
          coalesce(s.deadline_at::text, 'none'), ', and is ', CASE WHEN d.id IS NULL THEN 'not ' END, 'due') AS says
        FROM swarms_swarm s
        LEFT JOIN public.tenants_due d ON d.kind = 'swarm_deadline' AND d.subject = s.id AND d.team_id = %(team)s
        WHERE d.id IS NULL AND s.deadline_at IS NOT NULL AND s.landed_commit = '' AND s.state NOT IN ({_NO_DEADLINE})
          OR d.id IS NOT NULL AND (s.deadline_at IS NULL OR s.state IN ({words(SWARM_ENDED | SWARM_UNDOES)}))
        """,
        settles=True,  # a landing that must be made again has got its deadline back by the next sweep
    ),
    Invariant(
        "looked_at_in_time",
        "Nothing is looked at more than an hour after its time, no lease is longer, and no ticket waits for a day.",
        f"""
        SELECT d.subject::text AS id, coalesce(x.swarm, q.swarm_id, s.id) AS swarm,
          concat(d.kind, ' of ', d.subject, ' is looked at no sooner than at ', d.due_at) AS says
        FROM public.tenants_due d LEFT JOIN agents_execution x ON x.id = d.subject
        LEFT JOIN swarms_approval q ON q.id = d.subject LEFT JOIN swarms_swarm s ON s.id = d.subject
        WHERE d.team_id = %(team)s AND d.kind IN ({_CLOCKS}) AND d.due_at > interval '1 hour' + greatest(
          statement_timestamp(), x.lease_until, x.deadline_at, x.progress_at + x.stall_seconds * interval '1 second',
          q.expires_at, CASE d.kind WHEN 'swarm_deadline' THEN s.deadline_at END)
        UNION ALL
        SELECT x.id::text, x.swarm, concat(x.kind, ' ', x.subject, ' may be silent until ', x.lease_until)
        FROM agents_execution x WHERE {_LIVE} AND x.lease_until > statement_timestamp() + interval '1 hour'
        UNION ALL
        SELECT t.id::text, t.swarm, concat('the ticket of ', t.kind, ' ', t.subject, ' waits until ', t.not_before)
        FROM public.tenants_ticket t
        WHERE t.team_id = %(team)s AND t.not_before > statement_timestamp() + interval '1 day'
        """,
    ),
    Invariant(
        "ticket_in_order",
        "A node's ticket has the priority of its swarm and of itself, and the path that is left from it.",
        """
        SELECT t.id::text AS id, t.swarm, concat(n.key, ' goes by ', t.priority, ' and ', t.path, ', and has ',
          s.priority + n.priority, ' and ', n.path_length) AS says
        FROM public.tenants_ticket t JOIN swarms_node n ON n.id = t.subject JOIN swarms_swarm s ON s.id = n.swarm_id
        WHERE t.team_id = %(team)s AND t.kind = 'node' AND n.state = 'ready'
          AND (t.priority <> s.priority + n.priority OR t.path <> n.path_length)
        """,
        settles=True,  # one that is being called up just now is not changed: the clock does it soon
    ),
    Invariant(
        "merge_is_hinted",
        "While a merge could be taken from a swarm's queue, somebody is about to look.",
        f"""
        SELECT m.swarm_id::text AS id, m.swarm_id AS swarm, concat(count(*), ' merges wait, and nobody looks') AS says
        FROM swarms_merge m JOIN swarms_swarm s ON s.id = m.swarm_id
        WHERE m.state = 'queued' AND s.state IN ({words(SWARM_AT_WORK)})
          AND NOT EXISTS (SELECT FROM swarms_merge c WHERE c.swarm_id = m.swarm_id AND c.state = 'checking')
          AND NOT EXISTS (SELECT FROM public.tenants_due d
            WHERE d.kind = 'merge' AND d.subject = m.swarm_id AND d.team_id = %(team)s)
        GROUP BY m.swarm_id
        """,
    ),
    Invariant(
        "one_pending_approval",
        "At most one approval of a subject is pending; each use of a tool is one of its own.",
        """
        SELECT q.swarm_id::text AS id, q.swarm_id AS swarm,
          concat(count(*), ' approvals of one ', q.kind, ' are pending') AS says
        FROM swarms_approval q WHERE q.state = 'pending' AND q.call = ''
        GROUP BY q.swarm_id, q.kind, q.node_id HAVING count(*) > 1
        """,
    ),
    Invariant(
        "call_is_waited_for",
        "Who is asked about the use of a tool is asked by an agent that still waits.",
        f"""
        SELECT q.id::text AS id, q.swarm_id AS swarm, concat(q.title, ', and the agent is ', x.state) AS says
        FROM swarms_approval q JOIN agents_execution x ON x.id = q.execution_id
        WHERE q.state = 'pending' AND NOT {_LIVE}
        """,
    ),
    Invariant(
        "decided_has_decider",
        "An approval was decided exactly when it says by whom.",
        """
        SELECT q.id::text AS id, q.swarm_id AS swarm, concat(q.title, ' is ', q.state, ' by ',
          coalesce(q.decided_by_id::text, 'nobody')) AS says
        FROM swarms_approval q WHERE (q.state IN ('approved', 'rejected')) <> (q.decided_by_id IS NOT NULL)
        """,
    ),
    Invariant(
        "four_eyes",
        "Where four eyes are asked for, nobody decided what they asked for themselves.",
        """
        SELECT q.id::text AS id, q.swarm_id AS swarm, concat(q.title, ' was decided by who asked for it') AS says
        FROM swarms_approval q WHERE q.four_eyes AND q.decided_by_id = q.requested_by_id
        """,
    ),
    Invariant(
        "approval_expires",
        "The end of an approval's time is due exactly while the approval is pending.",
        """
        SELECT q.id::text AS id, q.swarm_id AS swarm, concat(q.title, ' is ', q.state, ', and its end is ',
          CASE WHEN d.id IS NULL THEN 'not due' ELSE 'still due' END) AS says
        FROM swarms_approval q
        LEFT JOIN public.tenants_due d ON d.kind = 'approval' AND d.subject = q.id AND d.team_id = %(team)s
        WHERE (q.state = 'pending') <> (d.id IS NOT NULL)
        """,
    ),
    Invariant(
        "plan_question_is_current",
        "Who is asked about a plan is asked about one that is proposed.",
        """
        SELECT q.id::text AS id, q.swarm_id AS swarm, concat(q.title, ' is asked for, and the plan is ',
          p.state) AS says
        FROM swarms_approval q JOIN swarms_plan p ON p.id = q.plan_id
        WHERE q.kind = 'plan' AND q.state = 'pending' AND p.state <> 'proposed'
        """,
    ),
)
