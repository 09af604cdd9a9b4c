"""Artifacts in the file of a swarm: bytes come out as they went in, texts without secrets; changed ones are refused."""

import hashlib
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from sessions.artifacts import contents
from sessions.artifacts.keeping import keep
from sessions.models import Artifact, Content
from swarms.models import Archive
from swarms.replay import bundle, files
from swarms.replay.archives import BundleFault, bring_in, take_out
from tenants.context import in_schema
from tenants.models import Team
from tests.board_stage import Stage
from tests.conftest import user_of
from tests.test_artifacts import body_of, old
from tests.test_replay_bundle import CANARIES, LEAKS, again, file_of, lines, members_of

PICTURE = b"\x89PNG\r\n\x00" + bytes(range(256)) * 2000
CLEAN = "Nothing to hide: räport.\n".encode()


@pytest.fixture
def stage(team: Team) -> Stage:
    made = Stage(user_of("alice", "acme"))
    for name, data in {"out/a.png": PICTURE, "b.png": PICTURE, "clean.txt": CLEAN, "leaks.txt": LEAKS.encode()}.items():
        keep(made.live.session, io.BytesIO(data), name=name, media_type="image/png")
    return made


def told(members: dict[str, bytes]) -> dict[str, dict[str, Any]]:
    return {line["name"]: line for line in lines(members["artifacts.jsonl"])}


def test_bytes_are_in_the_file_once_and_texts_are_there_without_secrets(stage: Stage) -> None:
    members = members_of(file_of(stage.swarm))
    found = told(members)
    picture = hashlib.sha256(PICTURE).hexdigest()
    assert found["out/a.png"]["sha256"] == found["b.png"]["sha256"] == picture
    assert members[f"artifacts/{picture}"] == PICTURE
    assert members[bundle.file_of_content(found["clean.txt"]["sha256"])] == CLEAN
    words = [found["b.png"][name] for name in ("node", "attempt", "made_by")]
    assert words == ["printer", 1, "developer-2"]
    leaked = members[bundle.file_of_content(found["leaks.txt"]["sha256"])].decode()
    assert "wrote this" in leaked
    assert [what for what, canary in CANARIES.items() if canary in leaked and "platform" not in what] == []
    assert "alice@acme.example" not in leaked


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume asynchronous iterators")
def test_an_archive_has_them_and_members_of_its_team_alone_take_them(
    stage: Stage, team: Team, globex: Team, client_for: Callable[..., Client]
) -> None:
    file = file_of(stage.swarm)
    with in_schema(globex.schema_name):
        archive = bring_in(file, by=None)
        kept = Artifact.objects.get(subject=files.subject(archive), name="out/a.png")
        assert contents.used() < len(PICTURE) + 10_000, "the same bytes once"
    boss = client_for(user_of("alice", "globex"), globex)
    page = boss.get(f"/archives/{archive.pk}/nodes/printer/").text
    assert f'href="/artifacts/{kept.pk}/"' in page
    assert f"/artifacts/{kept.pk}/remove/" not in page
    assert body_of(boss.get(f"/artifacts/{kept.pk}/")) == PICTURE
    assert client_for(user_of("alice", "acme"), team).get(f"/artifacts/{kept.pk}/").status_code == 404
    boss.post(f"/artifacts/{kept.pk}/remove/")
    with in_schema(globex.schema_name):
        assert Artifact.objects.filter(pk=kept.pk).exists(), "it goes with its archive"
        take_out(archive, by=None)
        old()
        contents.prune()
        assert not Content.objects.exists()


WIDE = "PASSWORD=hunter2hunter2".encode("utf-16-le")


@pytest.mark.parametrize(
    ("hidden", "kind"),
    [
        (b"wg_" + b"Ab3" * 10, "token"),
        (b"ghp_" + b"Ab3d" * 9, "provider key"),
        (WIDE, "assigned to a name like a secret's"),
        (b"-----BEGIN RSA PRIVATE KEY-----", "private key"),
        (b"bob@acme.example", "person by name"),
        ("schlüssel-der-anlage".encode(), "known secret"),
    ],
)
def test_a_file_that_is_no_text_is_left_out_when_a_secret_is_in_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, settings: Any, hidden: bytes, kind: str
) -> None:
    settings.METRICS_TOKEN = "schlüssel-der-anlage"
    monkeypatch.setattr(files, "WINDOW", 100_000)
    # Across the border of what is looked through at once, and with bytes around it that are no text.
    data = b"\x89\x00\xff" * 33_330 + b"\x00" + hidden + b"\x00\xfe" * 10
    keep(stage.live.session, io.BytesIO(data), name="build.bin", media_type="application/octet-stream")
    members = members_of(file_of(stage.swarm))
    found = told(members)
    assert found["build.bin"]["sha256"] == ""
    assert found["build.bin"]["missing"] == f"it is no text, and something in it looks like a secret ({kind})"
    assert not [name for name, data in members.items() if hidden in data]
    assert found["b.png"]["sha256"], "what has none is there"
    assert json.loads(members["manifest.json"])["redacted"]["file with a secret"] == 1


def test_what_does_not_fit_is_named_and_left_out(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "MOST_CONTENTS", 10_000)
    monkeypatch.setattr(files, "MOST_TEXT", len(CLEAN) - 1)
    contents.store().delete(contents.place_of(stage.artifact.content.sha256))
    found = told(members_of(file_of(stage.swarm)))
    assert "have at most 0 MB" in found["out/a.png"]["missing"]
    assert "not looked through for secrets" in found["clean.txt"]["missing"]
    lost = found.pop(stage.artifact.name)
    assert lost["missing"] in ("its bytes are lost", found["clean.txt"]["missing"])
    assert {line["sha256"] for line in found.values()} == {""}
    archive = bring_in(file_of(stage.swarm), by=None)
    assert not Artifact.objects.filter(subject=files.subject(archive)).exists()


Members = dict[str, bytes]


def changed(members: Members) -> Members:
    name = next(name for name in members if name.startswith("artifacts/"))
    return members | {name: members[name][:-1] + b"?"}


def cut(members: Members) -> Members:
    name = next(name for name in members if name.startswith("artifacts/"))
    return members | {name: members[name][:-1]}


def longer(members: Members) -> Members:
    name = next(name for name in members if name.startswith("artifacts/"))
    return members | {name: members[name] + b" " * 1_000_000}


def fewer(members: Members) -> Members:
    name = next(name for name in members if name.startswith("artifacts/"))
    return {key: value for key, value in members.items() if key != name}


def unnamed(members: Members) -> Members:
    """One that the manifest does not tell of."""
    return members | {f"artifacts/{'0' * 64}": b"x"}


def untold(members: Members) -> Members:
    """A line that names what is not there."""
    rows = lines(members["artifacts.jsonl"])
    rows[0]["sha256"] = "0" * 64
    return members | {"artifacts.jsonl": b"".join(json.dumps(row).encode() + b"\n" for row in rows)}


def climbing(members: Members) -> Members:
    rows = lines(members["artifacts.jsonl"])
    rows[0]["name"] = "../../etc/passwd"
    return members | {"artifacts.jsonl": b"".join(json.dumps(row).encode() + b"\n" for row in rows)}


def twice(members: Members) -> Members:
    last = [line for line in members["artifacts.jsonl"].splitlines() if b'"sha256":""' not in line][-1]
    return members | {"artifacts.jsonl": members["artifacts.jsonl"] + last + b"\n"}


def unstorable(members: Members) -> Members:
    rows = lines(members["artifacts.jsonl"])
    for row in rows:
        row["made_by"] = "a\0b"
    return members | {"artifacts.jsonl": b"".join(json.dumps(row).encode() + b"\n" for row in rows)}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (twice, r"artifacts.jsonl, line \d+: .* is there twice"),
        (unstorable, r"artifacts.jsonl, line \d+: this cannot be stored"),
        (changed, "is not what its name says"),
        (cut, "has not the size that the manifest says"),
        (longer, "has not the size that the manifest says"),
        (fewer, "are not those that manifest.json names"),
        (unnamed, "are not those that manifest.json names"),
        (untold, r"artifacts.jsonl, line 1: the bytes of .* are not in the file"),
        (climbing, r"artifacts.jsonl, line 1: .* is no name for an artifact"),
    ],
)
def test_what_was_changed_is_refused_and_nothing_names_it(
    stage: Stage, change: Callable[[Members], Members], says: str
) -> None:
    before = Artifact.objects.count()
    with pytest.raises(BundleFault, match=says):
        bring_in(again(change(members_of(file_of(stage.swarm)))), by=None)
    assert (Archive.objects.count(), Artifact.objects.count()) == (0, before)


def test_a_team_without_room_is_told_so(stage: Stage, globex: Team, settings: Any) -> None:
    settings.ARTIFACT_TEAM_MB = 0
    file = file_of(stage.swarm)
    with in_schema(globex.schema_name):
        with pytest.raises(BundleFault, match="of the 0 MB that the team's artifacts may have"):
            bring_in(file, by=None)
        assert not Archive.objects.exists()
