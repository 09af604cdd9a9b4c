"""Whose model call it is: the live execution behind an attempt token, and where its calls may go.

This is asked at every call of every agent: by one statement, without a thread and the ORM's compiler.
"""

from typing import Any
from uuid import UUID

from django.db import DatabaseError
from psycopg.errors import UndefinedTable
from psycopg.sql import SQL, Identifier

from agents.metering import Caller
from agents.models import Execution, Provider
from agents.passage import unauthorized
from agents.routes import ways_of
from agents.states import LIVE
from tenants import tokens
from tenants.context import in_scope
from tenants.database.awaited import row
from tenants.states import TeamState

# Whose a token is never changes, and is looked up once; whether it still counts is asked at every call.
_TOKEN = """
SELECT t.schema_name, k.subject FROM public.tenants_token k JOIN public.tenants_team t ON t.id = k.team_id
WHERE k.hash = %s
"""
_CALLER = SQL("""
SELECT e.id, e.session_id, e.swarm, e.agent, e.trace, e.placed,
  EXISTS (SELECT FROM {schema}.agents_budget b WHERE e.budgets ? b.subject),
  (SELECT jsonb_agg(jsonb_build_object('id', p.id, 'name', p.name, 'base_url', p.base_url, 'serves', p.serves,
     'key', p.key) ORDER BY p.rank, p.created_at, p.id) FROM {schema}.agents_provider p WHERE p.revoked_at IS NULL)
FROM public.tenants_token k JOIN public.tenants_team t ON t.id = k.team_id
  JOIN public.tenants_domain d ON d.tenant_id = t.id, {schema}.agents_execution e
WHERE k.hash = %s AND k.kind = 'attempt' AND k.revoked_at IS NULL
  AND (k.expires_at IS NULL OR k.expires_at > statement_timestamp()) AND d.slug = %s AND t.state = %s
  AND e.id = %s AND e.state = ANY(%s) AND e.cancel_at IS NULL
""")
_LIVE = sorted(LIVE)
_known: dict[str, tuple[str, UUID]] = {}
"""Schema and execution of tokens, by their digests."""
_MOST_KNOWN = 10_000


async def caller_of(slug: str, secret: str) -> Caller:
    """The live execution that the attempt token belongs to, and its calls' ways. Raises Refused, DatabaseError."""
    digest = tokens.digest(secret)
    schema, execution = _known.get(digest) or await _look_up(digest)
    statement = _CALLER.format(schema=Identifier(schema)).as_string()
    try:
        found = await row(statement, [digest, slug, TeamState.READY, execution, _LIVE])
    except DatabaseError as error:
        if not isinstance(error.__cause__, UndefinedTable):
            raise
        _known.pop(digest)  # the team was deleted, with its schema
        raise unauthorized() from error
    if found is None:
        raise unauthorized()
    return _caller(schema, found)


async def _look_up(digest: str) -> tuple[str, UUID]:
    schema, subject = await row(_TOKEN, [digest]) or ("", "")
    noun, _, execution = subject.partition(":")
    if noun != "execution":
        raise unauthorized()
    if len(_known) >= _MOST_KNOWN:
        _known.clear()
    _known[digest] = schema, UUID(execution)
    return _known[digest]


def _caller(schema: str, found: tuple[Any, ...]) -> Caller:
    key, session, swarm, agent, trace, placed, is_budgeted, rows = found
    execution = Execution(id=key, placed=placed)
    rehearsal = execution.is_rehearsal
    providers = [Provider(**{**each, "id": UUID(each["id"])}) for each in rows or ()]
    with in_scope(schema):
        ways = ways_of(execution.model, providers, rehearsal=rehearsal)
    return Caller(
        schema=schema,
        execution=key,
        session=session,
        swarm=swarm,
        agent=agent,
        trace=trace,
        is_budgeted=is_budgeted,
        ways=ways,
        rehearsal=rehearsal,
    )
