"""The embedded Postgres and Valkey, as real processes in folders of their own."""

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from django.core.exceptions import ImproperlyConfigured

from config.env import PROJECT_ROOT
from config.services import StartFailed, embedded, ensure, stop
from config.services.layout import Layout, embedded_urls, local_secret, read_json
from config.services.marks import Mark, wait_gone
from config.services.postgres import NOBODYS_PID, program


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "data"
    yield folder
    stop(folder)


def query(url: str, text: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(text.encode())
        row = cursor.fetchone() if cursor.description else None
    return row[0] if row else None


def processes_of(folder: Path) -> list[str]:
    command = ["ps", "-eww", "-o", "stat=", "-o", "args="]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [line for line in listing.splitlines() if str(folder) in line and not line.startswith("Z")]


def test_services_keep_data_password_and_port_over_a_stop(data: Path) -> None:
    assert embedded_urls(data) is None
    urls = ensure(data)
    assert embedded_urls(data) == urls
    query(urls["DATABASE_URL"], "CREATE TABLE hive (bees int)")
    query(urls["DATABASE_URL"], "INSERT INTO hive VALUES (7)")
    with redis.Redis.from_url(urls["REDIS_URL"]) as client:
        client.set("queen", "one")

    assert ensure(data) == urls, "a second start changes nothing"
    assert len(processes_of(data)) == 2
    stop(data)
    assert embedded_urls(data) is None
    assert processes_of(data) == []

    assert ensure(data) == urls
    assert query(urls["DATABASE_URL"], "SELECT bees FROM hive") == 7
    with redis.Redis.from_url(urls["REDIS_URL"], decode_responses=True) as client:
        assert client.get("queen") == "one"


def test_postgres_is_set_up_for_many_teams_and_durable(data: Path) -> None:
    url = ensure(data, only=["postgres"])["DATABASE_URL"]
    names = "max_connections max_locks_per_transaction fsync synchronous_commit full_page_writes listen_addresses"
    assert {name: query(url, f"SHOW {name}") for name in names.split()} == {
        "max_connections": "200",
        "max_locks_per_transaction": "512",
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "listen_addresses": "127.0.0.1",
    }
    for extension in ("vector", "pg_trgm", "btree_gist"):
        query(url, f"CREATE EXTENSION {extension}")
    assert round(float(str(query(url, "SELECT '[1,0]'::vector <=> '[0,1]'::vector")))) == 1


def test_valkey_never_drops_what_it_holds(data: Path) -> None:
    url = ensure(data, only=["valkey"])["REDIS_URL"]
    with redis.Redis.from_url(url, decode_responses=True) as client:
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
        assert client.config_get("appendonly")["appendonly"] == "yes"
        assert client.config_get("bind")["bind"] == "127.0.0.1"
    with redis.Redis.from_url(f"{url}/1") as client:
        assert client.ping()


def test_nobody_gets_in_without_the_password(data: Path) -> None:
    urls = ensure(data)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(re.sub(r":[^:@]+@", ":wrong@", urls["DATABASE_URL"]))
    with pytest.raises(redis.AuthenticationError):
        redis.Redis.from_url(re.sub(r":[^:@]+@", "", urls["REDIS_URL"])).ping()
    secret = urls["DATABASE_URL"].split(":")[2].split("@")[0]
    assert not [line for line in processes_of(data) if secret in line], "a command line shows the password"
    layout = Layout(data)
    private = [layout.services, *layout.secrets.iterdir(), layout.valkey / "valkey.conf"]
    assert {oct(path.stat().st_mode & 0o777) for path in private} == {"0o600"}


def test_what_was_committed_survives_kill_9(data: Path) -> None:
    urls = ensure(data)
    query(urls["DATABASE_URL"], "CREATE TABLE hive (bees int)")
    for turn in range(1, 3):
        query(urls["DATABASE_URL"], f"INSERT INTO hive VALUES ({turn})")
        killed = embedded.marks(data)
        for mark in killed.values():
            os.kill(mark.pid, signal.SIGKILL)
        assert wait_gone(killed.values(), 10)
        assert embedded_urls(data) is None
        assert ensure(data) == urls
        assert query(urls["DATABASE_URL"], "SELECT count(*) FROM hive") == turn


def test_a_lock_with_the_pid_of_a_stranger_does_not_stop_postgres(data: Path) -> None:
    url = ensure(data, only=["postgres"])["DATABASE_URL"]
    lock = data / "postgres" / "postmaster.pid"
    mark = embedded.marks(data)["postgres"]
    os.kill(mark.pid, signal.SIGKILL)
    assert wait_gone([mark], 10)
    # After a restart of the machine any program may have the number of the old server: this one, say.
    lock.write_text(re.sub(r"\A\d+", str(os.getpid()), lock.read_text()))
    assert ensure(data, only=["postgres"])["DATABASE_URL"] == url
    assert not Mark.of(NOBODYS_PID).alive()


def test_a_port_that_somebody_took_is_left_to_them(data: Path) -> None:
    first = ensure(data, only=["valkey"])["REDIS_URL"]
    stop(data)
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", int(first.rpartition(":")[2])))
        stranger.listen()
        second = ensure(data, only=["valkey"])["REDIS_URL"]
        assert second != first
        assert redis.Redis.from_url(second).ping()
    stop(data)
    assert ensure(data, only=["valkey"])["REDIS_URL"] == second


def test_a_pid_that_now_belongs_to_another_program_is_left_alone(data: Path) -> None:
    ensure(data, only=["valkey"])
    with subprocess.Popen(["sleep", "60"]) as bystander:
        layout = Layout(data)
        stop(data)
        layout.services.write_text(f'{{"valkey": {{"pid": {bystander.pid}, "began": "long ago", "bound": true}}}}')
        stop(data)
        assert bystander.poll() is None
        bystander.kill()


def test_bound_services_end_with_the_process_that_started_them(data: Path) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux tells a process that its parent died")
    code = f"import os, signal; from config.services import ensure; ensure({str(data)!r}, bound=True);"
    code += "print('up', flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    dead = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert (dead.returncode, dead.stdout) == (-signal.SIGKILL, "up\n"), dead.stderr
    record = read_json(Layout(data).services)
    assert wait_gone([Mark.parse(record[name]) for name in ("postgres", "valkey")], 20)
    # The next start finds the database shut down or recovers it, and works.
    assert query(ensure(data)["DATABASE_URL"], "SELECT 1") == 1


def test_services_started_by_hand_outlive_a_platform(data: Path) -> None:
    ensure(data, only=["postgres"])
    ensure(data, bound=True)
    stop(data, only_bound=True)
    assert list(embedded.marks(data)) == ["postgres"]


def test_several_starts_at_once_make_one_server(data: Path) -> None:
    code = f"from config.services import ensure; print(ensure({str(data)!r}))"
    starts = [
        subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert len({start.communicate()[0] for start in starts}) == 1
    assert [start.returncode for start in starts] == [0, 0, 0]
    assert len([line for line in processes_of(data) if "/bin/postgres" in line]) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
@pytest.mark.parametrize("part", ["", "run", "secrets", "secrets/secret_key", "valkey"])
def test_a_data_folder_of_another_owner_is_refused_with_the_remedy(data: Path, part: str) -> None:
    layout = Layout(data).create()
    layout.valkey.mkdir()
    local_secret(data, "secret_key")
    shutil.chown(data / part, "nobody")
    with pytest.raises(ImproperlyConfigured) as refusal:
        ensure(data)
    said = str(refusal.value)
    assert said.startswith(f"{data / part} belongs to nobody, but you are {pwd.getpwuid(os.geteuid()).pw_name}.")
    assert "WAGGLE_DATA_DIR=~/waggle-data make demo" in said
    assert f"chown -R {pwd.getpwuid(os.geteuid()).pw_name} {data}" in said
    assert not (data / "postgres").exists(), "something was begun in a foreign folder"


def reachable_for_nobody(path: Path) -> bool:
    return (
        subprocess.run(["test", "-x", str(path)], user="nobody", group="nogroup", cwd="/", check=False).returncode == 0
    )


def as_nobody(call: str) -> str:
    """What a call of `config.services` prints or raises in a process that has become `nobody`."""
    account = pwd.getpwnam("nobody")
    code = (
        # Imported as root: an ordinary user may not be able to reach this environment's files.
        "import os, encodings.idna, config.services as services\n"
        f"os.setgroups([]); os.setgid({account.pw_gid}); os.setuid({account.pw_uid})\n"
        f"try:\n    print({call})\nexcept Exception as error:\n    print(type(error).__name__, error)"
    )
    return subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    ).stdout


@pytest.fixture
def common_ground() -> Iterator[Path]:
    """A folder that every user can reach; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an ordinary user")
def test_an_ordinary_user_is_refused_where_it_may_not_write(common_ground: Path) -> None:
    said = as_nobody(f"services.ensure({str(common_ground / 'data')!r})")
    assert said.startswith(f"ImproperlyConfigured {common_ground} cannot be written by this user.")
    assert "WAGGLE_DATA_DIR=~/waggle-data make demo" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an ordinary user")
def test_an_ordinary_user_runs_the_services_too(common_ground: Path) -> None:
    if not reachable_for_nobody(program("postgres")):
        pytest.skip("this virtual environment lies where an ordinary user cannot go")
    folder = common_ground / "data"
    folder.mkdir()
    shutil.chown(folder, "nobody")
    assert as_nobody(f"sorted(services.ensure({str(folder)!r}))") == "['DATABASE_URL', 'REDIS_URL']\n"
    try:
        owners = {path.stat().st_uid for path in folder.rglob("*")}
        assert owners == {pwd.getpwnam("nobody").pw_uid}
    finally:
        assert as_nobody(f"services.stop({str(folder)!r})") == "None\n"


def test_a_server_that_cannot_start_says_why(data: Path) -> None:
    ensure(data, only=["valkey"])
    stop(data)
    appended = next((data / "valkey" / "appendonlydir").glob("*.manifest"))
    appended.write_text("nonsense\n")
    with pytest.raises(StartFailed, match=r"(?s)Valkey ended at once.*valkey\.log.*manifest"):
        ensure(data, only=["valkey"])
