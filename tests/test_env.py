"""Settings from the environment: what is wrong is told by name, with an example."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from config.env import PROJECT_ROOT, env, env_bool, env_choice, env_float, env_int, env_secret, env_url
from config.stores import artifact_store

EXAMPLE = "postgresql://waggle:secret@db.example:5432/waggle"


def database(name: str) -> str | None:
    return env_url(name, ("postgresql", "postgres"), EXAMPLE)


def port(name: str) -> int:
    return env_int(name, 8000, minimum=1, maximum=65535)


def tick(name: str) -> float:
    return env_float(name, 0.5, minimum=0.05)


def runtime(name: str) -> str:
    return env_choice(name, ("builtin", "opencode"), "builtin")


@pytest.mark.parametrize(
    ("read", "value", "said"),
    [
        (database, "mysql://db.example/waggle", "must begin with postgresql:// or postgres://"),
        (database, "db.example:5432", "must begin with"),
        (database, "postgresql://", "names no host"),
        (database, "postgresql://db.example:port/waggle", "is not a valid address"),
        (database, "postgresql://db.example:99999/waggle", "is not a valid address"),
        (port, "http", "must be a whole number"),
        (port, "80.5", "must be a whole number"),
        (port, "0", "must be between 1 and 65535"),
        (port, "70000", "must be between 1 and 65535"),
        (tick, "fast", "must be a number"),
        (tick, "0.01", "must be at least 0.05"),
        (tick, "nan", "must be at least 0.05"),
        (env_bool, "maybe", "must be yes or no"),
        (runtime, "shell", "must be builtin or opencode"),
    ],
)
def test_a_wrong_value_is_refused_with_the_name_of_its_variable(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[str], object], value: str, said: str
) -> None:
    monkeypatch.setenv("WAGGLE_PROBE", value)
    with pytest.raises(ImproperlyConfigured, match=r"^WAGGLE_PROBE ") as refusal:
        read("WAGGLE_PROBE")
    assert said in str(refusal.value)


def test_a_refused_address_comes_with_an_example_and_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAGGLE_PROBE", "mysql://root:hunter2@db.example/waggle")
    with pytest.raises(ImproperlyConfigured) as refusal:
        database("WAGGLE_PROBE")
    assert f"For example WAGGLE_PROBE={EXAMPLE}." in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


def test_right_values_are_read_and_empty_ones_count_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, truth in (("1", True), ("Yes", True), ("on", True), ("0", False), ("FALSE", False)):
        monkeypatch.setenv("WAGGLE_PROBE", value)
        assert env_bool("WAGGLE_PROBE") is truth
    monkeypatch.setenv("WAGGLE_PROBE", " 8123 ")
    assert (port("WAGGLE_PROBE"), tick("WAGGLE_PROBE"), env("WAGGLE_PROBE")) == (8123, 8123.0, "8123")
    monkeypatch.setenv("WAGGLE_PROBE", "postgres://db.example/waggle")
    assert database("WAGGLE_PROBE") == "postgres://db.example/waggle"
    monkeypatch.setenv("WAGGLE_PROBE", "")
    assert (port("WAGGLE_PROBE"), database("WAGGLE_PROBE"), env("WAGGLE_PROBE", None)) == (8000, None, None)


@pytest.mark.parametrize("read", [env, env_bool, env_int, env_float, env_secret])
def test_a_variable_without_default_must_be_set(monkeypatch: pytest.MonkeyPatch, read: Callable[[str], object]) -> None:
    monkeypatch.delenv("WAGGLE_PROBE", raising=False)
    with pytest.raises(ImproperlyConfigured, match="WAGGLE_PROBE is not set"):
        read("WAGGLE_PROBE")


def test_a_secret_may_lie_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "key"
    monkeypatch.setenv("WAGGLE_PROBE_FILE", str(file))
    with pytest.raises(ImproperlyConfigured, match=r"WAGGLE_PROBE_FILE=.*cannot be read"):
        env_secret("WAGGLE_PROBE")
    file.write_text("\n")
    with pytest.raises(ImproperlyConfigured, match=r"WAGGLE_PROBE_FILE=.*is empty"):
        env_secret("WAGGLE_PROBE")
    file.write_text("top secret\n")
    assert env_secret("WAGGLE_PROBE") == "top secret"
    monkeypatch.setenv("WAGGLE_PROBE", "another")
    with pytest.raises(ImproperlyConfigured, match="Both WAGGLE_PROBE and WAGGLE_PROBE_FILE"):
        env_secret("WAGGLE_PROBE")


def test_every_variable_that_settings_read_is_explained_in_the_example() -> None:
    read = set(re.findall(r'env(?:_\w+)?\(\s*"(\w+)"', (PROJECT_ROOT / "config" / "settings.py").read_text()))
    explained = set(re.findall(r"^#?(\w+)=", (PROJECT_ROOT / ".env.example").read_text(), re.MULTILINE))
    assert read, "settings.py reads no variables any more: this test looks at the wrong file"
    # Set by the supervisor for its own rehearsal model only.
    assert read - explained == {"WAGGLE_MODEL_REHEARSAL"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ENDPOINT": "https://objects.example"}, "WAGGLE_ARTIFACT_BUCKET=waggle-artifacts"),
        ({"SECRET_KEY": "hunter2"}, "WAGGLE_ARTIFACT_SECRET_KEY is set, but WAGGLE_ARTIFACT_BUCKET is not"),
        ({"BUCKET": "My_Bucket"}, "WAGGLE_ARTIFACT_BUCKET must be the name of a bucket"),
        ({"BUCKET": "b-1", "ENDPOINT": "objects.example"}, "WAGGLE_ARTIFACT_ENDPOINT must begin with http"),
        ({"BUCKET": "b-1", "SECRET_KEY": "hunter2"}, "WAGGLE_ARTIFACT_ACCESS_KEY is not set"),
        ({"BUCKET": "b-1", "ACCESS_KEY": "me"}, "WAGGLE_ARTIFACT_SECRET_KEY is not set"),
    ],
)
def test_variables_of_the_artifact_store_that_do_not_fit_together_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: dict[str, str], said: str
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(f"WAGGLE_ARTIFACT_{name}", value)
    with pytest.raises(ImproperlyConfigured) as refusal:
        artifact_store(tmp_path)
    assert said in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


def test_artifacts_lie_in_a_folder_unless_a_bucket_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert artifact_store(tmp_path)["OPTIONS"]["location"] == tmp_path / "artifacts"
    monkeypatch.setenv("WAGGLE_ARTIFACT_BUCKET", "waggle-artifacts")
    assert artifact_store(tmp_path)["OPTIONS"]["bucket_name"] == "waggle-artifacts"
