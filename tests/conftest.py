"""Two teams, always: acme and globex, each with alice (owner), bob (developer), vera (viewer); charlie has none."""

import gc
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import dramatiq
import pytest
import redis
from django.apps import apps
from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper
from django.test import Client
from django.test.utils import CaptureQueriesContext, setup_databases, teardown_databases
from django.utils.module_loading import module_has_submodule
from dramatiq import Message
from dramatiq.broker import MessageProxy
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import SkipMessage
from hypothesis import settings as hypothesis_settings
from pytest_django import DjangoDbBlocker

from agents.models import Server
from sessions.models import Session, Subject
from sessions.topics import stream_key
from tenants import provisioning, signup
from tenants.context import current_schema, in_schema
from tenants.members import add_member
from tenants.models import Membership, Team, User
from tenants.roles import Role
from tests import object_store as object_store_of_tests

# These machines are noisy: how long an example takes says nothing.
hypothesis_settings.register_profile("waggle", deadline=None)
hypothesis_settings.load_profile("waggle")

PASSWORD = "correct horse battery"
CAST = {"alice": Role.OWNER, "bob": Role.DEVELOPER, "vera": Role.VIEWER}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files whose tests may take longest come first: side by side, none is left to run alone at the end."""
    limits: dict[Path, float] = {}
    for item in items:
        marker = item.get_closest_marker("timeout")
        limits[item.path] = max(limits.get(item.path, 0), marker.args[0] if marker else 0)
    items.sort(key=lambda item: -limits[item.path])


def pytest_collection_finish() -> None:
    """All modules and tests are there to stay: looking through them for rubbish took a sixth of a run."""
    gc.collect()
    gc.freeze()


def user_of(name: str, team: str = "") -> User:
    """One of the cast: `user_of("alice", "acme")`, `user_of("charlie")`."""
    return User.objects.get(email=f"{name}@{team or 'nowhere'}.example")


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Both schemas are migrated once per run; tests only roll back rows.

    In place of pytest-django's, which makes no database when every test of a run uses `committed_team`.
    """
    with django_db_blocker.unblock():
        made = setup_databases(verbosity=0, interactive=False)
        if not User.objects.filter(email="charlie@nowhere.example").exists():
            User.objects.create_user("charlie@nowhere.example", PASSWORD, name="Charlie")
        for slug in ("acme", "globex"):
            if not Team.objects.filter(domains__slug=slug).exists():
                _found(slug)
    yield
    with django_db_blocker.unblock():
        teardown_databases(made, verbosity=0)


def _found(slug: str) -> None:
    people = {name: User.objects.create_user(f"{name}@{slug}.example", PASSWORD, name=name.title()) for name in CAST}
    team = signup.make_team(name=slug.title(), slug=slug, owner=people["alice"])
    provisioning.build(team)
    for name, role in CAST.items():
        if role != Role.OWNER:
            add_member(team, people[name], role)


@pytest.fixture
def acme(db: None) -> Team:
    return Team.objects.get(domains__slug="acme")


@pytest.fixture
def globex(db: None) -> Team:
    return Team.objects.get(domains__slug="globex")


@pytest.fixture
def team(acme: Team) -> Iterator[Team]:
    """Work inside acme's schema; all rows are rolled back."""
    with in_schema(acme.schema_name):
        with connection.cursor() as cursor:
            # A test is one transaction, and may be silent for long: on a busy machine, or while it is stopped.
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        yield acme


@pytest.fixture
def committed_team(django_db_setup: None, django_db_blocker: pytest.FixtureRequest) -> Iterator[Team]:
    """Acme for tests with threads, workers or runners: rows really commit, and all tables are emptied after.

    pytest-django's `transaction=True` cannot be used: its flush truncates public tables that tables of teams point
    at, and Postgres refuses.
    """
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        found = Team.objects.get(domains__slug="acme")
        people = list(User.objects.values_list("pk", flat=True))
        members = list(Membership.objects.filter(team=found))
        try:
            with in_schema(found.schema_name):
                yield found
        finally:
            # A test may also have written into another team.
            for schema in Team.objects.filter(state="ready").values_list("schema_name", flat=True):
                if schema == found.schema_name or _has_rows(schema):
                    _empty(schema)
            # Not by delete(): it would look in public for rows of teams that point at the users.
            Membership.objects.filter(team=found)._raw_delete("default")
            User.objects.exclude(pk__in=people)._raw_delete("default")
            Membership.objects.bulk_create(members)
            connection.close()


_QUEUES = ("ticket", "due", "outbox", "placement", "runner", "token", "invitation")
_FEW_BYTES = 2**20
_BEGIN_ANEW = """
SELECT setval(seqrelid, 1, false) FROM pg_sequence JOIN pg_depend ON objid = seqrelid
WHERE classid = 'pg_class'::regclass AND refobjid = ANY(%s::regclass[])
"""


def _has_rows(schema: str) -> bool:
    with in_schema(schema):
        return Subject.objects.exists() or Session.objects.exists() or Server.objects.exists()


def _empty(schema: str) -> None:
    # Positions begin anew, and the stream would remember later ones.
    with redis.Redis.from_url(settings.STREAM_URL) as client:
        client.delete(stream_key(schema))
    with in_schema(schema), connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [schema])
        tables = [f'"{schema}"."{row[0]}"' for row in cursor.fetchall() if row[0] != "django_migrations"]
        tables += [f"public.tenants_{name}" for name in _QUEUES]
        # A process under test may be writing its last rows, and holds them in another order.
        for last in (False, False, False, True):
            try:
                with transaction.atomic():
                    _clear(cursor, tables)
                break
            except OperationalError:
                if last:
                    raise
        cursor.execute("UPDATE public.tenants_teamshare SET virtual_time = 0, last_start = 0, credit = 0")


def _clear(cursor: CursorWrapper, tables: list[str]) -> None:
    """TRUNCATE makes all files of all tables and indexes anew: few rows are deleted in a sixth of its time."""
    cursor.execute(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE")
    cursor.execute("SELECT name, pg_relation_size(name::regclass) FROM unnest(%s::text[]) AS name", [tables])
    sizes = dict(cursor.fetchall())
    cursor.execute("SHOW is_superuser")
    if cursor.fetchone() != ("on",) or sum(sizes.values()) > _FEW_BYTES:
        cursor.execute(f"TRUNCATE {', '.join(tables)} RESTART IDENTITY CASCADE")
        return
    # Neither keys nor our triggers are asked, as by TRUNCATE.
    cursor.execute("SET LOCAL session_replication_role = replica")
    for table in (table for table, size in sizes.items() if size):
        cursor.execute(f"DELETE FROM {table}")
    cursor.execute(_BEGIN_ANEW, [tables])


@pytest.fixture
def client_for() -> Callable[..., Client]:
    """A browser: `client_for(user, team)` on the team's host, `client_for(user)` on the public one."""

    def make(user: User | None = None, team: Team | None = None, host: str = "", **options: Any) -> Client:
        domain = host or (team.get_primary_domain().domain if team else settings.WAGGLE_HOST)
        client = Client(headers={"host": f"{domain}:{settings.WAGGLE_PORT}"}, **options)
        if user is not None:
            client.force_login(user)
        return client

    return make


@pytest.fixture
def drain(broker: StubBroker) -> Callable[[], int]:
    """Run all queued messages in this thread with every hook, in the test's transaction; says how many ran."""

    def run() -> int:
        done = 0
        with in_schema(current_schema()):
            while queue := next((queue for queue in broker.queues.values() if not queue.empty()), None):
                message = MessageProxy(Message.decode(queue.get()))
                queue.task_done()
                _run(broker, message)
                done += 1
        return done

    return run


def _run(broker: StubBroker, message: MessageProxy) -> None:
    try:
        broker.emit_before("process_message", message)
        result = broker.get_actor(message.actor_name)(*message.args, **message.kwargs)
    except SkipMessage:
        broker.emit_after("skip_message", message)
    except Exception as error:
        broker.emit_after("process_message", message, exception=error)
        raise
    else:
        broker.emit_after("process_message", message, result=result)


@pytest.fixture
def broker() -> Iterator[StubBroker]:
    """The stub broker with the actors that a worker loads, empty before and after."""
    for app in apps.get_app_configs():
        if module_has_submodule(app.module, "actors"):
            import_module(f"{app.name}.actors")
    stub = dramatiq.get_broker()
    assert isinstance(stub, StubBroker)
    stub.flush_all()
    yield stub
    stub.flush_all()


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an S3-compatible server of this run."""
    with object_store_of_tests.running(tmp_path_factory.mktemp("store") / "objects") as url:
        yield url


@pytest.fixture
def content_queries() -> Callable[[], CaptureQueriesContext]:
    """Count queries without the `SET search_path` of its scopes."""

    class Captured(CaptureQueriesContext):
        @property
        def captured_queries(self) -> list[dict[str, str]]:
            return [query for query in super().captured_queries if not query["sql"].startswith("SET search_path")]

    return lambda: Captured(connection)


@pytest.fixture(autouse=True)
def keep_the_connection(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Channels and Dramatiq close idle connections after each call; in a rolled-back test that is the test's own."""
    if "committed_team" not in request.fixturenames:
        monkeypatch.setattr("channels.db.close_old_connections", lambda **kwargs: None)
        monkeypatch.setattr("django.db.close_old_connections", lambda **kwargs: None)
