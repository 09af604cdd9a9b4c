"""A swarm as a file: what goes in comes out again, without secrets; what is no honest export is refused."""

import asyncio
import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from agents.contracts.records import MessageRecord, PartRecord
from config.streams import route_http
from sessions import transcript
from sessions.events import acting, publish
from sessions.models import Event, Message, Part, Session
from swarms.models import Archive, ArchiveRecord, Plan, Swarm
from swarms.replay import archives, bundle, kept, shown, stories
from swarms.replay.archives import AlreadyImported, BundleFault, bring_in, take_out
from swarms.replay.checkpoints import scene_at
from swarms.replay.export import export
from tenants.context import in_schema
from tenants.models import Team
from tests.board_stage import Stage
from tests.conftest import user_of
from tests.invariants import violations

CANARIES = {
    "a token of ours": "wg_canaryCANARY0123456789",
    "a provider's key": "sk-canary-0123456789abcdefXYZ",
    "another provider's": "ghp_canary0123456789ABCDEFGHIJKLMNOP",
    "a cloud's": "AKIACANARY0123456789"[:20],
    "a password in an address": "canary-pw-77",
    "a header": "Y2FuYXJ5OmNhbmFyeS1oZWFkZXI=",
    "a private key": "MIICanaryKeyMaterial0123456789",
    "what is assigned": "q7Zp3Vw9Xt2Ld8Rk",
    "what the platform knows": "platform-secret-canary-42",
    "a session's cookie": "canarycookie0123456789",
    "what is named so": "canary-in-an-input",
}
LEAKS = f"""
token {CANARIES["a token of ours"]} and {CANARIES["a provider's key"]} and {CANARIES["another provider's"]}
aws {CANARIES["a cloud's"]} https://bob:{CANARIES["a password in an address"]}@git.example/x.git
Authorization: Basic {CANARIES["a header"]}
-----BEGIN PRIVATE KEY-----
{CANARIES["a private key"]}
-----END PRIVATE KEY-----
DB_PASSWORD={CANARIES["what is assigned"]} {CANARIES["what the platform knows"]}
Cookie: waggle_session={CANARIES["a session's cookie"]}
alice@acme.example wrote this, and bob@acme.example read it.
"""


@pytest.fixture
def stage(team: Team) -> Stage:
    return Stage(user_of("alice", "acme"))


def file_of(swarm: Swarm) -> io.BytesIO:
    found = io.BytesIO()
    export(swarm, found)
    found.seek(0)
    return found


def members_of(file: io.BytesIO) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def again(members: dict[str, bytes], *, mend: bool = True) -> io.BytesIO:
    """A file of these members; with `mend` the manifest says what they are now."""
    if mend:
        manifest = json.loads(members["manifest.json"])
        for name in manifest["members"]:
            data = members[bundle.file_of(name)]
            told = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "lines": data.count(b"\n")}
            manifest["members"][name] = told
        members = members | {"manifest.json": json.dumps(manifest).encode()}
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, data in members.items():
            opened.writestr(name, data)
    found.seek(0)
    return found


def test_an_archive_shows_at_every_event_what_the_swarm_showed(stage: Stage) -> None:
    live, archive = stories.of_swarm(stage.swarm), bring_in(file_of(stage.swarm), by=stage.by)
    kept = stories.of_archive(archive)
    last = live.last()
    assert (kept.last(), archive.last_seq) == (last, last)
    assert archive.goal == stage.swarm.goal.text
    for at in range(1, last + 1):
        assert scene_at(kept, at) == scene_at(live, at)
        one, other = shown.at(live, at, last), shown.at(kept, at, last)
        assert [line.said for line in one["lines"]] == [line.said for line in other["lines"]]
        assert one["graph"] == other["graph"]
        assert one["said"] == other["said"]
        assert shown.facts(live, at) == shown.facts(kept, at)
    assert kept.moments(0, 1000) == live.moments(0, 1000)
    for mark in stories.MARKS.values():
        assert [kept.find(mark, at) for at in range(last)] == [live.find(mark, at) for at in range(last)]


def test_an_archive_never_mixes_with_what_lives(stage: Stage, team: Team) -> None:
    before = (Swarm.objects.count(), Event.objects.count(), violations(team.schema_name))
    archive = bring_in(file_of(stage.swarm), by=None)
    assert (Swarm.objects.count(), Event.objects.count(), violations(team.schema_name)) == before
    take_out(archive, by=None)
    assert not ArchiveRecord.objects.exists()


def test_importing_twice_says_so_and_after_deleting_it_is_new(stage: Stage) -> None:
    file = file_of(stage.swarm)
    first = bring_in(file, by=stage.by)
    with pytest.raises(AlreadyImported, match=f"imported already.*{first.pk}") as refused:
        bring_in(file_of(stage.swarm), by=stage.by)  # exported at another moment, and the same
    assert refused.value.archive == first
    take_out(first, by=stage.by)
    file.seek(0)
    assert bring_in(file, by=stage.by).pk != first.pk


def test_no_secret_and_no_address_of_a_person_is_in_the_file(stage: Stage, settings: Any, team: Team) -> None:
    settings.MODEL_API_KEY = CANARIES["what the platform knows"]
    session = stage.live.session
    message = uuid4()
    call = {"path": "x", "api_key": CANARIES["what is named so"], "text": LEAKS}
    part = {"message": message, "state": "done"}
    transcript.record(
        session,
        [
            MessageRecord(id=message, role="assistant"),
            PartRecord(id=uuid4(), index=0, kind="text", text=LEAKS, **part),
            PartRecord(id=uuid4(), index=1, kind="tool", tool="shell", input=call, output=LEAKS, **part),
        ],
    )
    with acting(f"user:{stage.by.pk}"):
        by = f"user:{stage.by.pk}"
        publish(stage.swarm.topic, "decision.made", by=by, what="said by alice@acme.example", why=LEAKS)
    run = stage.swarm.check_runs.get(purpose="before")
    stage.swarm.check_runs.filter(pk=run.pk)._raw_delete("default")
    run.pk, run.results = uuid4(), [run.results[0] | {"output": LEAKS}]
    run.save(force_insert=True)
    stage.swarm.goal.text = f"A goal with {LEAKS}"
    stage.swarm.goal.save()
    Plan.objects.filter(swarm=stage.swarm).update(because=LEAKS)
    stage.swarm.approvals.filter(pk=stage.landing.pk)._raw_delete("default")
    stage.landing.subject["why"] = LEAKS
    stage.landing.save(force_insert=True)
    file = file_of(stage.swarm)
    members = members_of(file)
    for name, data in members.items():
        for what, canary in CANARIES.items():
            assert canary.encode() not in data, f"{what} is in {name}"
        for address in (b"alice@acme.example", b"bob@acme.example", str(stage.by.pk).encode()):
            assert address not in data, name
    assert b'"actor":"user:Alice"' in members["events.jsonl"]
    manifest = json.loads(members["manifest.json"])
    assert manifest["swarm"]["by"] == "Alice"
    assert {"private key", "authorization", "provider key", "known secret", "named like a secret"} <= set(
        manifest["redacted"]
    )
    file.seek(0)
    kept = stories.of_archive(bring_in(file, by=stage.by))
    assert shown.at(kept, kept.last(), kept.last())["lines"][0].who == "Alice"


def test_the_same_swarm_gives_the_same_members(stage: Stage) -> None:
    one, other = members_of(file_of(stage.swarm)), members_of(file_of(stage.swarm))
    assert {name: data for name, data in one.items() if name != "manifest.json"} == {
        name: data for name, data in other.items() if name != "manifest.json"
    }
    told = bundle.Manifest.model_validate_json(one["manifest.json"])
    names = {bundle.file_of(name) for name in told.members} | set(map(bundle.file_of_content, told.contents))
    assert names | {"manifest.json"} == set(one)
    assert told.members["events"].lines == one["events.jsonl"].count(b"\n") > 10


@pytest.mark.parametrize(
    ("model", "line", "left_out"),
    [
        (Part, bundle.PartLine, set()),
        (Message, bundle.MessageLine, set()),
        # What an agent does now is told by events; sessions that happened elsewhere are of projects, not of swarms.
        (Session, bundle.SessionLine, {"subject", "doing", "origin"}),
    ],
)
def test_no_field_of_a_transcript_is_forgotten(model: Any, line: Any, left_out: set[str]) -> None:
    assert {field.name for field in model._meta.fields} - left_out <= set(line.model_fields)


def lines(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def joined(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def change_event(number: int, **words: Any) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    def change(members: dict[str, bytes]) -> dict[str, bytes]:
        rows = lines(members["events.jsonl"])
        rows[number - 1] |= words
        return members | {"events.jsonl": joined(rows)}

    return change


def change_manifest(**words: Any) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    def change(members: dict[str, bytes]) -> dict[str, bytes]:
        return members | {"manifest.json": json.dumps(json.loads(members["manifest.json"]) | words).encode()}

    return change


def change_swarm(**words: Any) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    def change(members: dict[str, bytes]) -> dict[str, bytes]:
        manifest = json.loads(members["manifest.json"])
        return change_manifest(swarm=manifest["swarm"] | words)(members)

    return change


def change_usage(**words: Any) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    def change(members: dict[str, bytes]) -> dict[str, bytes]:
        rows = lines(members["transcripts.jsonl"])
        next(row for row in rows if row["type"] == "part")["usage"] = words
        return members | {"transcripts.jsonl": joined(rows)}

    return change


DEEP = b'{"version":' + b"[" * 200_000 + b"]" * 200_000 + b"}\n"
REFUSED: dict[str, tuple[Callable[[dict[str, bytes]], dict[str, bytes]], str]] = {
    "an unknown kind": (
        change_event(3, kind="node.teleported", payload={}),
        r"events.jsonl, line 3: there is no kind of event called 'node.teleported'",
    ),
    "a payload that breaks its kind": (change_event(2, payload={"x": 1}), r"events.jsonl, line 2: .*"),
    "a gap": (change_event(4, seq=9), r"line 4: this is event 9, and 4 was to come"),
    "a line of another form": (change_event(1, colour="red"), r"events.jsonl, line 1: colour"),
    "another format": (change_manifest(format=7, waggle="9.1"), r"has format 7, made by Waggle 9.1"),
    "something else": (change_manifest(kind="other"), r"manifest.json: kind"),
    "no manifest": (lambda m: {k: v for k, v in m.items() if k != "manifest.json"}, r"no manifest.json"),
    "a path that climbs": (lambda m: m | {"../../etc/passwd": b"x"}, r"members that no export has: ../../etc/passwd"),
    "an absolute path": (lambda m: m | {"/etc/cron.d/x": b"x"}, r"members that no export has"),
    "a member less": (lambda m: {k: v for k, v in m.items() if k != "diffs.jsonl"}, r"lacks diffs.jsonl"),
    "no events": (lambda m: m | {"events.jsonl": b""}, r"has no events"),
    "no JSON": (lambda m: m | {"checks.jsonl": b"{nonsense}\n"}, r"checks.jsonl, line 1: this is not JSON"),
    "no object": (lambda m: m | {"checks.jsonl": b"[1]\n"}, r"checks.jsonl, line 1: this is no JSON object"),
    "no number": (lambda m: m | {"checks.jsonl": b'{"a":NaN}\n'}, r"NaN is no number"),
    "a deep nest": (lambda m: m | {"plans.jsonl": DEEP}, r"not JSON|nested too deeply|plans.jsonl, line 1"),
    "a NUL": (change_event(1, actor="a\x00b"), r"cannot be stored"),
    "half a pair": (change_event(1, actor="a\ud800b"), r"cannot be stored"),
    "an event at the end of time": (change_event(1, at="9999-12-31T23:59:59-14:00"), r"events.jsonl, line 1: at: "),
    "an event before all time": (change_event(1, at="0001-01-01T00:00:00+14:00"), r"events.jsonl, line 1: at: "),
    "a swarm at the end of time": (change_swarm(created_at="9999-12-31T23:59:59-14:00"), r"swarm.created_at: "),
    "tokens that are no number": (change_usage(input_tokens="many"), r"transcripts.jsonl, line .*usage.input_tokens"),
    "tokens beyond all measure": (change_usage(input_tokens=10**400), r"transcripts.jsonl, line .*usage.input_tokens"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_honest_export_is_refused_and_nothing_is_stored(stage: Stage, what: str) -> None:
    change, says = REFUSED[what]
    members = change(members_of(file_of(stage.swarm)))
    with pytest.raises(BundleFault, match=says):
        bring_in(again(members, mend="manifest.json" in members and "diffs.jsonl" in members), by=None)
    assert not Archive.objects.exists()
    assert not ArchiveRecord.objects.exists()


def test_a_file_that_was_changed_after_its_export_is_refused(stage: Stage) -> None:
    members = members_of(file_of(stage.swarm))
    for name, word, other in (("events.jsonl", b"system", b"sYstem"), ("checks.jsonl", b"Ran 3", b"Ran 4")):
        assert word in members[name]
        for changed in (members[name].replace(word, other, 1), members[name] + b"\n", members[name][:-20]):
            with pytest.raises(BundleFault, match=name):
                bring_in(again(members | {name: changed}, mend=False), by=None)
    assert not Archive.objects.exists()


def test_no_more_is_unpacked_than_the_manifest_says(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    members = members_of(file_of(stage.swarm))
    bomb = members | {"checks.jsonl": b" " * 50_000_000 + b"\n"}
    with pytest.raises(BundleFault, match=r"checks.jsonl is longer than the manifest says|line 1 is longer than"):
        bring_in(again(bomb, mend=False), by=None)
    monkeypatch.setattr(bundle, "MOST_LINE", 1000)
    with pytest.raises(BundleFault, match="line 1 is longer than"):
        bring_in(again(members | {"checks.jsonl": b" " * 5000 + b"\n"}), by=None)
    monkeypatch.setattr(bundle, "MOST_BYTES", 1000)
    with pytest.raises(BundleFault, match="unpacks to more than"):
        bring_in(again(members), by=None)
    for junk in (b"", b"not a zip", b"PK\x03\x04" + b"\x00" * 100):
        with pytest.raises(BundleFault, match="no zip file"):
            bring_in(io.BytesIO(junk), by=None)


def test_a_swarm_of_too_many_nodes_is_refused(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_NODES", 2)
    with pytest.raises(BundleFault, match="has 3 nodes; at most 2"):
        bring_in(file_of(stage.swarm), by=None)


def test_commands_export_import_replay_and_remove(stage: Stage, tmp_path: Path, globex: Team) -> None:
    def run(*words: str) -> str:
        out = io.StringIO()
        call_command(*words, stdout=out)
        return out.getvalue()

    path = tmp_path / "x.zip"
    told = run("export_swarm", "textkit#1", "--team", "acme", "--to", str(path))
    assert "events" in told
    assert "Taken out:" in told
    with pytest.raises(CommandError, match="is there already"):
        run("export_swarm", str(stage.swarm.pk), "--to", str(path))
    assert "was imported as" in run("import_swarm", str(path), "--team", "globex")
    with pytest.raises(CommandError, match="imported already"):
        run("import_swarm", str(path), "--team", "globex")
    with in_schema(globex.schema_name):
        archive = Archive.objects.get()
        assert not Swarm.objects.exists()
    here = run("replay", "textkit#1", "--at", "9")
    assert run("replay", str(archive.pk), "--at", "9") == here
    assert here.startswith("Event 9 of ")
    found = json.loads(run("replay", str(archive.pk), "--at", "9", "--json"))
    assert {node["key"] for node in found["nodes"]} == {"parser", "printer", "docs"}
    for words, says in (
        (("replay", "textkit#1", "--at", "999"), "has the events 1 to"),
        (("replay", "textkit#77"), "There is no swarm textkit#77"),
        (("replay", "textkit#1", "--team", "nobody"), "no team with the address nobody"),
        (("replay", "textkit"), "neither <project>#<number>"),
        (("export_swarm", str(archive.pk)), "There is no swarm"),
        (("import_swarm", str(tmp_path / "none.zip"), "--team", "acme"), "cannot be read"),
        (("import_swarm", str(uuid4()), "--team", "globex", "--remove"), "has no archive"),
    ):
        with pytest.raises(CommandError, match=says):
            run(*words)
    assert "is deleted" in run("import_swarm", str(archive.pk), "--team", "globex", "--remove")
    with in_schema(globex.schema_name):
        assert not ArchiveRecord.objects.exists()


def test_a_member_exports_and_an_admin_imports_on_the_pages(
    stage: Stage, team: Team, client_for: Callable[..., Client]
) -> None:
    bob, alice = client_for(user_of("bob", "acme"), team), client_for(user_of("alice", "acme"), team)
    answer = bob.post("/projects/textkit/swarms/1/export/")
    assert answer["Content-Disposition"] == 'attachment; filename="textkit-1.waggle.zip"'
    data = b"".join(answer.streaming_content)
    assert bob.post("/archives/", {"file": io.BytesIO(data)}).status_code == 403
    assert client_for(user_of("vera", "acme"), team).post("/projects/textkit/swarms/1/export/").status_code == 403
    made = alice.post("/archives/", {"file": io.BytesIO(data)}, follow=True)
    archive = Archive.objects.get()
    assert made.redirect_chain[-1][0] == f"/archives/{archive.pk}/"
    assert "Imported: textkit #1" in made.text
    twice = alice.post("/archives/", {"file": io.BytesIO(data)}, follow=True)
    assert "imported already" in twice.text
    wrong = alice.post("/archives/", {"file": io.BytesIO(b"nothing")})
    assert wrong.status_code == 422
    assert "This is no zip file" in wrong.text
    assert alice.post("/archives/", {}).status_code == 422
    node = alice.get(f"/archives/{archive.pk}/nodes/parser/").text
    for words in ("Write the parser", "on an attempt&#x27;s commit", "parser.py", "read_file", "Attempt 1"):
        assert words in node, words
    whole = alice.get(f"/archives/{archive.pk}/nodes/-/")
    assert "landing of textkit #1" in whole.text
    assert alice.get(f"/archives/{archive.pk}/nodes/nothing/").status_code == 404
    talk = archive.records.filter(member="transcripts", body__type="part").first()
    assert talk is not None
    assert alice.get(f"/archives/{archive.pk}/nodes/{talk.key}/").status_code == 404
    assert bob.post(f"/archives/{archive.pk}/delete/").status_code == 403
    gone = alice.post(f"/archives/{archive.pk}/delete/", follow=True)
    assert "Deleted: textkit #1" in gone.text
    assert not Archive.objects.exists()


def test_a_long_transcript_goes_on_from_page_to_page(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = bring_in(file_of(stage.swarm), by=None)
    talk = str(stage.live.session_id)
    key = archive.records.get(member="transcripts", body__type="session", body__id=talk).key
    found = archive.records.filter(member="transcripts", key=talk, body__type="part").order_by("number")
    wanted = [body["id"] for body in found.values_list("body", flat=True)]
    assert len(wanted) > 2
    monkeypatch.setattr("swarms.replay.kept.MOST_PARTS", 2)
    seen: list[str] = []
    after: int | None = 0
    while after is not None:
        page = kept.of_node(archive, key, talk, after)
        shown_now = [str(one.part.pk) for turn in page["turns"] for one in turn.parts]
        assert 1 <= len(shown_now) <= 2
        seen, after = seen + shown_now, page["more"]
    assert seen == wanted


def test_the_server_lets_through_what_a_browser_may_send() -> None:
    async def django(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] == "http.request" and message["more_body"]:
            continue
        told.append(message["type"])

    async def receive() -> dict[str, Any]:
        left[0] -= 1
        return {"type": "http.request", "body": b" " * (1 << 20), "more_body": left[0] > 0}

    told: list[str] = []
    left = [0]
    application = route_http(django, events=django, gateway=django, mcp=django, polling=django)
    for path, size, heard in (
        ("/archives/", bundle.MOST_FILE >> 20, "http.request"),
        ("/archives/", 70, "http.disconnect"),
        ("/projects/", 30, "http.disconnect"),
    ):
        left[0] = size
        asyncio.run(application({"type": "http", "path": path, "headers": []}, receive, None))
        assert told.pop() == heard


def test_a_file_that_is_too_large_for_the_browser_is_refused(
    stage: Stage, team: Team, client_for: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swarms.forms.MOST_FILE", 100)
    answer = client_for(user_of("alice", "acme"), team).post("/archives/", {"file": file_of(stage.swarm)})
    assert answer.status_code == 422
    assert "An operator can import it" in answer.text
