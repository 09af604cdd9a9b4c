"""What the processes of a platform may know, and when a database is too old for them."""

import json
from pathlib import Path

from config.env import PROJECT_ROOT
from config.services.prepare import compare, migration_hashes
from config.services.programs import Site, programs

NAMES = {"rehearsal", "web", "worker", "ticker", "runner", "discover"}


def site(tmp_path: Path, rehearsal_port: int | None = 4711) -> Site:
    return Site(
        tmp_path, 8000, "postgresql://waggle:pw-of-postgres@h/waggle", "redis://:pw-of-valkey@h", "m", rehearsal_port
    )


def test_the_runner_gets_no_database_and_no_secret_of_the_control_plane(tmp_path: Path) -> None:
    environ = {
        "PATH": "/bin",
        "DATABASE_URL": "postgresql://waggle:pw-of-postgres@h/waggle",
        "WAGGLE_SECRET_KEY": "key-of-django",
        "WAGGLE_MODEL_API_KEY": "key-of-provider",
        "WAGGLE_RUNNER_TOKEN": "wg_token",
        "WAGGLE_RUNNER_CAPACITY": "7",
        "AWS_SECRET_ACCESS_KEY": "of-somebody",
    }
    found = {program.name: program.environment for program in programs(site(tmp_path), environ)}
    assert set(found) == NAMES
    for name in ("runner", "rehearsal"):
        known = json.dumps(dict(found[name]))
        for secret in ("pw-of", "key-of", "DATABASE_URL", "REDIS_URL", "of-somebody", "wg_token"):
            assert secret not in known, f"{name} knows {secret}"
    assert found["runner"]["WAGGLE_RUNNER_CAPACITY"] == "7"
    assert found["runner"]["WAGGLE_RUNNER_TOKEN_FILE"] == str(tmp_path / "secrets" / "runner.token")
    assert found["web"]["DATABASE_URL"].endswith("@h/waggle")
    assert found["web"]["WAGGLE_MODEL_API_KEY"] == "key-of-provider"
    assert "AWS_SECRET_ACCESS_KEY" not in found["web"]


def test_a_real_model_leaves_the_rehearsal_out(tmp_path: Path) -> None:
    real = {"WAGGLE_MODEL_BASE_URL": "https://model.example/v1", "WAGGLE_MODEL_NAME": "real"}
    found = {program.name: program.environment for program in programs(site(tmp_path, None), real)}
    assert set(found) == NAMES - {"rehearsal"}
    assert found["web"]["WAGGLE_MODEL_BASE_URL"] == "https://model.example/v1"
    assert "WAGGLE_MODEL_REHEARSAL" not in found["web"]
    rehearsed = {program.name: program.environment for program in programs(site(tmp_path), {})}
    assert rehearsed["web"]["WAGGLE_MODEL_BASE_URL"] == "http://127.0.0.1:4711/v1"
    assert rehearsed["web"]["WAGGLE_MODEL_REHEARSAL"] == "1"


def test_new_migrations_are_applied_and_changed_ones_are_refused() -> None:
    made = {"tenants/migrations/0001_initial.py": "a", "swarms/migrations/0001_initial.py": "b"}
    assert compare({}, made) == "migrate"
    assert compare(made, made) == "same"
    assert compare(made, made | {"swarms/migrations/0002_more.py": "c"}) == "migrate"
    assert compare(made, made | {"swarms/migrations/0001_initial.py": "x"}) == "other"
    assert compare(made, {"tenants/migrations/0001_initial.py": "a"}) == "other"
    assert "tenants/migrations/0001_initial.py" in migration_hashes(PROJECT_ROOT)
