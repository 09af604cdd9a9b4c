"""Probes: is this process alive, and can it serve."""

from collections.abc import Callable

import psycopg
import redis
import structlog
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from django_prometheus.exports import ExportToDjangoView

from tenants import tokens

logger = structlog.get_logger(__name__)

PATIENCE = 2
"""Seconds to wait for the database or Redis: less than the timeout of a probe."""

_migrated = False


@never_cache
@require_safe
def livez(request: HttpRequest) -> HttpResponse:
    """The process answers. No input or output: a database that is away must not restart the web process."""
    return HttpResponse("ok\n", content_type="text/plain")


@never_cache
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """What this process needs is there; else 503 with `missing` naming each thing and its remedy."""
    missing = missing_parts()
    return JsonResponse({"ready": not missing, "missing": missing}, status=503 if missing else 200)


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus metrics: for this machine, or for who shows WAGGLE_METRICS_TOKEN; others get the 404 of nothing."""
    shown = tokens.bearer(request.headers.get("Authorization", ""))
    wanted = settings.METRICS_TOKEN
    local = request.META.get("REMOTE_ADDR") in ("127.0.0.1", "::1") and "X-Forwarded-For" not in request.headers
    if not (constant_time_compare(shown, wanted) if wanted else local):
        raise Http404
    return ExportToDjangoView(request)


def missing_parts() -> dict[str, str]:
    """What is missing, by name: database, migrations, redis. Empty when all is well."""
    checks: dict[str, Callable[[], str]] = {"database": _database, "redis": _redis, "migrations": _migrations}
    missing = {}
    for name, check in checks.items():
        if name == "migrations" and "database" in missing:
            continue
        if problem := check():
            missing[name] = problem
    return missing


def _database() -> str:
    # A connection of its own: the pool would wait longer than the probe does.
    parameters = connection.get_connection_params() | {"connect_timeout": PATIENCE}
    try:
        with psycopg.connect(**parameters) as link:
            link.execute("SELECT 1")
    except psycopg.Error as error:
        logger.warning("not ready", part="database", error=str(error))
        return "The database does not answer. Check DATABASE_URL and that Postgres runs."
    return ""


def _redis() -> str:
    for url in {settings.STREAM_URL, settings.BROKER_URL}:
        try:
            with redis.Redis.from_url(url, socket_connect_timeout=PATIENCE, socket_timeout=PATIENCE) as link:
                link.ping()
        except (redis.RedisError, OSError, ValueError) as error:
            logger.warning("not ready", part="redis", error=str(error))
            return "Redis does not answer. Check REDIS_URL and that Valkey or Redis runs."
    return ""


def _migrations() -> str:
    global _migrated
    if _migrated:
        return ""
    try:
        executor = MigrationExecutor(connection)
        waiting = [str(step) for step, _ in executor.migration_plan(executor.loader.graph.leaf_nodes())]
    except DatabaseError as error:
        logger.warning("not ready", part="migrations", error=str(error))
        return "The table of migrations cannot be read. Run manage.py migrate_schemas --shared."
    if waiting:
        return f"{len(waiting)} migrations are missing, first {waiting[0]}. Run manage.py migrate_schemas."
    _migrated = True
    return ""
