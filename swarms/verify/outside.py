"""Invariants of what goes out of the platform, or lies outside the database. Pure text."""

from swarms.verify.invariant import Invariant

INVARIANTS = (
    Invariant(
        "artifact_has_content",
        "What an artifact names has come in, and does not go.",
        """
        SELECT a.id::text AS id, substring(a.subject FROM '^swarm:(.*)$')::uuid AS swarm,
          concat('artifact ', a.name, ' names a content whose bytes are not all in the store') AS says
        FROM agent_sessions_artifact a JOIN agent_sessions_content c ON c.id = a.content_id WHERE c.stored_at IS NULL
        """,
    ),
    Invariant(
        "webhook_is_due",
        "A webhook that is on and has not got everything will be looked at.",
        """
        SELECT w.id::text AS id, NULL::uuid AS swarm,
          concat('webhook ', w.name, ' has something to send, and nobody will wake it') AS says
        FROM agent_sessions_webhook w WHERE w.state = 'enabled'
          AND (w.position < (SELECT last_position FROM agent_sessions_stream WHERE id = 1)
            OR EXISTS (SELECT FROM agent_sessions_backlog b WHERE b.webhook_id = w.id)
            OR EXISTS (SELECT FROM agent_sessions_letter l WHERE l.webhook_id = w.id AND l.due_at IS NOT NULL))
          AND NOT EXISTS (SELECT FROM public.tenants_due d
            WHERE d.kind = 'webhook' AND d.subject = w.id AND d.team_id = %(team)s)
        """,
    ),
)
