"""Artifacts: kept once for each team, sent in pieces, within limits, shown to members alone, pruned when unnamed."""

import asyncio
import hashlib
import io
import os
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from django.conf import settings as django_settings
from django.core.files.storage import storages
from django.db import connection
from django.test import Client
from django.utils import timezone

from agents.contracts import ArtifactKept, Assignment
from agents.runner.reports import Faults, Reports
from sessions.artifacts import contents, keeping, sweep
from sessions.artifacts.contents import Gone, TooMuch
from sessions.artifacts.keeping import Misnamed, keep
from sessions.models import Artifact, Content, Event, Session
from swarms import artifacts
from swarms.replay import files
from swarms.verify import stored
from swarms.verify.run import Scope, verify
from tenants import programs, tokens
from tenants.context import in_schema
from tenants.models import Membership, Team
from tests.board_stage import Stage
from tests.conftest import user_of
from tests.object_store import BUCKET, KEYS, bucket
from tests.web import serve

ClientFor = Callable[..., Client]
BYTES = b"\x89PNG\r\n" + bytes(range(256)) * 3000
"""More than one piece."""


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, settings: Any, tmp_path: Path) -> str:
    """Where artifacts lie: a new folder, or a new bucket of a real S3-compatible server."""
    entry: dict[str, Any] = {
        "BACKEND": "sessions.artifacts.stores.Folder",
        "OPTIONS": {"location": tmp_path / "artifacts"},
    }
    if request.param == "bucket":
        entry = bucket(request.getfixturevalue("object_store"))
    settings.STORAGES = django_settings.STORAGES | {"artifacts": entry}
    return request.param


@pytest.fixture
def stage(team: Team) -> Stage:
    return Stage(user_of("alice", "acme"))


def session_of(subject: str = "") -> Session:
    return Session.objects.create(subject=subject or f"swarm:{uuid4()}", title="work", agent="developer-1")


def keeps(session: Session, data: bytes = BYTES, name: str = "out/a.png") -> Artifact:
    return keep(session, io.BytesIO(data), name=name, media_type="image/png")


def old() -> None:
    """An hour has passed."""
    Content.objects.update(kept_until=timezone.now() - timedelta(seconds=1))


def test_what_goes_in_comes_out_and_the_same_bytes_lie_there_once(place: str, team: Team) -> None:
    session = session_of()
    first, second = keeps(session), keeps(session_of(), name="b.png")
    assert b"".join(contents.pieces(first.content)) == BYTES
    assert first.content == second.content
    assert (first.content.sha256, first.content.size) == (hashlib.sha256(BYTES).hexdigest(), len(BYTES))
    assert contents.used() == len(BYTES)
    told = Event.objects.get(subject=session.subject, kind="artifact.kept").payload
    assert (told["name"], told["size"], told["by"]) == ("out/a.png", len(BYTES), "developer-1")


def test_sent_twice_it_is_one_and_other_bytes_take_the_place_of_the_first(place: str, team: Team) -> None:
    session = session_of()
    first = keeps(session)
    assert keeps(session) == first
    assert Event.objects.filter(subject=session.subject).count() == 1
    other = keeps(session, b"other")
    assert (other.pk, other.content.size) == (first.pk, 5)
    assert Event.objects.filter(subject=session.subject).count() == 2
    old()
    assert contents.prune() == (1, len(BYTES))
    assert list(contents.pieces(other.content)) == [b"other"]


def test_of_a_team_that_is_deleted_nothing_stays_and_others_keep_theirs(place: str, team: Team, globex: Team) -> None:
    gone = [keeps(session_of(), data).content for data in (b"one", b"two", BYTES)]
    with in_schema(globex.schema_name):
        kept = keeps(session_of())
    for _ in range(2):  # a removal that broke off is tried again
        contents.remove_all(team.schema_name)
        for content in gone:
            with pytest.raises(FileNotFoundError):
                list(contents.pieces(content))
    with in_schema(globex.schema_name):
        assert b"".join(contents.pieces(kept.content)) == BYTES


def test_what_nothing_names_is_pruned_after_its_hour_and_what_is_named_is_not(place: str, team: Team) -> None:
    kept, gone = keeps(session_of(), b"kept"), keeps(session_of(), b"gone")
    lost = gone.content
    keeping.remove(gone)
    assert contents.prune() == (0, 0), "whoever brings it just now must find it"
    old()
    assert contents.prune() == (1, 4)
    with pytest.raises(FileNotFoundError):
        list(contents.pieces(lost))
    assert list(contents.pieces(kept.content)) == [b"kept"]
    assert contents.prune() == (0, 0)
    assert keeps(session_of(), b"gone").content.pk != lost.pk
    assert contents.used() == 8


def test_bytes_that_are_on_their_way_survive_the_sweep(place: str, team: Team) -> None:
    """Between its announcement and its name, at every step."""
    arrived = contents.arrive(io.BytesIO(BYTES), "x")
    assert contents.prune() == (0, 0)
    assert contents.refer(arrived).stored_at is not None
    old()
    again = contents.arrive(io.BytesIO(BYTES), "x")  # from now on somebody brings it anew
    assert contents.prune() == (0, 0)
    assert contents.refer(again).sha256 == arrived.sha256


def test_what_is_brought_again_between_the_mark_and_the_removal_stays(place: str, team: Team) -> None:
    contents.arrive(io.BytesIO(BYTES), "x")
    old()
    (key,) = contents.condemn(10)
    again = contents.arrive(io.BytesIO(BYTES), "x")
    assert contents.take_out(key) is None
    assert b"".join(contents.pieces(contents.refer(again))) == BYTES


def test_what_is_marked_is_not_named_until_it_is_brought_again(place: str, team: Team) -> None:
    arrived = contents.arrive(io.BytesIO(BYTES), "x")
    old()
    (key,) = contents.condemn(10)
    with pytest.raises(Gone):
        contents.refer(arrived)
    assert contents.take_out(key) == len(BYTES)


def test_who_took_too_long_is_told_and_brings_it_again(place: str, team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    arrived = contents.arrive(io.BytesIO(BYTES), "x")
    old()
    assert contents.prune() == (1, len(BYTES))
    with pytest.raises(Gone):
        contents.refer(arrived)
    rounds: list[contents.Arrived] = []
    arrive = contents.arrive

    def slow(source: Any, name: str) -> contents.Arrived:
        found = arrive(source, name)
        if not rounds:
            old()
            contents.prune()
        rounds.append(found)
        return found

    monkeypatch.setattr(contents, "arrive", slow)
    artifact = keeps(session_of())
    assert len(rounds) == 2
    assert b"".join(contents.pieces(artifact.content)) == BYTES


def test_a_sweep_that_died_half_way_goes_on_and_loses_nothing(
    place: str, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents.arrive(io.BytesIO(BYTES), "x")
    old()
    store = contents.store()

    def dies(name: str) -> None:
        type(store).delete(store, name)
        raise OSError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(store, "delete", dies)
        with pytest.raises(OSError, match="killed"):
            contents.prune()
    # Its bytes are gone and its row is there: it says so, and whoever brings them brings all of them.
    assert Content.objects.get().stored_at is None
    artifact = keeps(session_of())
    assert b"".join(contents.pieces(artifact.content)) == BYTES
    old()
    assert contents.prune() == (0, 0)


def test_bringing_and_sweeping_at_the_same_time_never_lose_a_named_content(
    committed_team: Team, settings: Any, tmp_path: Path
) -> None:
    options = {"location": tmp_path / "artifacts"}
    entry = {"BACKEND": "sessions.artifacts.stores.Folder", "OPTIONS": options}
    settings.STORAGES = django_settings.STORAGES | {"artifacts": entry}
    assert storages["artifacts"].location == str(tmp_path / "artifacts")
    over, faults = threading.Event(), []

    def loop(body: Callable[[], None]) -> None:
        try:
            with in_schema(committed_team.schema_name):
                while not over.is_set():
                    body()
        except Exception as error:
            faults.append(error)
        finally:
            connection.close()

    def sweeps() -> None:
        Content.objects.filter(artifacts=None).update(kept_until=timezone.now() - timedelta(seconds=1))
        contents.prune()

    def brings() -> None:
        try:
            artifact = keeps(session_of(), b"the same bytes" * 1000)
        except Gone:  # three times in a row: this sweep does not wait for an hour
            return
        assert contents.fault(artifact.content) == ""
        keeping.remove(artifact)

    threads = [threading.Thread(target=loop, args=[body]) for body in (sweeps, brings, brings)]
    for thread in threads:
        thread.start()
    over.wait(2.5)
    over.set()
    for thread in threads:
        thread.join(30)
    assert not faults, faults
    assert Event.objects.filter(kind="artifact.removed").count() > 10, "nothing met anything"


@pytest.mark.parametrize("name", ["", "/etc/passwd", "a/../../b", "a\nb", "x" * 201])
def test_a_name_that_is_no_relative_path_is_refused(team: Team, name: str) -> None:
    with pytest.raises(Misnamed, match="is no name for an artifact"):
        keeps(session_of(), name=name)


def test_limits_are_told_in_words_and_nothing_is_stored(place: str, team: Team, settings: Any) -> None:
    settings.ARTIFACT_MB, settings.ARTIFACT_TEAM_MB = 1, 2
    session, megabyte = session_of(), 1 << 20
    with pytest.raises(TooMuch, match=r"a.png has 1.0 MB; an artifact may have 1 MB"):
        keeps(session, bytes(megabyte + 1))
    keeps(session, bytes(megabyte), "a")
    keeps(session, b"1" * (megabyte - 10), "b")
    with pytest.raises(TooMuch, match=r"of the 2 MB that the team's artifacts may have, 0.0 MB are left"):
        keeps(session, b"2" * 11, "c")
    keeps(session, bytes(megabyte), "the same bytes need no room")
    assert contents.used() == 2 * megabyte - 10


def test_each_team_has_its_own_even_of_the_same_bytes(place: str, acme: Team, globex: Team) -> None:
    with in_schema(globex.schema_name):
        theirs = keeps(session_of())
    with in_schema(acme.schema_name):
        ours = keeps(session_of())
        keeping.remove(ours)
        old()
        assert contents.prune()[0] == 1
    with in_schema(globex.schema_name):
        assert b"".join(contents.pieces(theirs.content)) == BYTES


def test_the_clock_prunes_every_team(acme: Team, globex: Team) -> None:
    for team in (acme, globex):
        with in_schema(team.schema_name):
            keeping.remove(keeps(session_of(), team.schema_name.encode()))
            old()
    assert sweep.look() == 2
    assert sweep.look() == 0


def test_verify_sees_contents_that_are_lost_or_have_another_size(place: str, team: Team) -> None:
    cut, lost = keeps(session_of(), b"long enough"), keeps(session_of(), b"here today")
    assert list(stored.violations()) == []
    contents.store().save(contents.place_of(cut.content.sha256), io.BytesIO(b"short"))  # type: ignore[arg-type]
    contents.store().delete(contents.place_of(lost.content.sha256))
    told = {key: says for _, key, _, says in stored.violations()}
    assert told.keys() == {str(cut.content_id), str(lost.content_id)}
    assert told[str(cut.content_id)].endswith("has 5 bytes in the store, and should have 11")
    assert told[str(lost.content_id)].endswith("is not in the store")


def test_verify_asks_the_store_when_it_is_told_to(stage: Stage) -> None:
    contents.store().delete(contents.place_of(stage.artifact.content.sha256))
    assert "artifact_stored" not in verify(scope=Scope()).counts
    assert verify(scope=Scope(artifacts=True)).counts["artifact_stored"] == 1
    assert verify(scope=Scope(stage.swarm.pk, artifacts=True)).counts["artifact_stored"] == 1
    assert verify(scope=Scope(stage.proposed.pk, artifacts=True)).counts["artifact_stored"] == 0


def secret_of(execution: Any, team: Team) -> str:
    return tokens.issue("attempt", team=team, subject=f"execution:{execution.pk}")[1]


class Runner:
    """Sends files as a runner does."""

    def __init__(self, stage: Stage, team: Team) -> None:
        self.live, self.secret, self.client = stage.live, secret_of(stage.live, team), Client()

    def send(self, data: bytes = BYTES, name: str = "out/a.png", fence: UUID | None = None, **more: Any) -> Any:
        return self.client.generic(
            "POST",
            f"/t/acme/runner/{self.live.pk}/artifacts?name={name}&media_type=image/png",
            data,
            content_type="application/octet-stream",
            headers={"authorization": f"Bearer {self.secret}", "x-waggle-fence": str(fence or self.live.fence)},
            **more,
        )


def test_a_runner_brings_a_file_with_its_token_and_its_fence(stage: Stage, team: Team, settings: Any) -> None:
    runner = Runner(stage, team)
    answer = runner.send()
    assert answer.status_code == 200
    artifact = Artifact.objects.get(pk=answer.json()["artifact"])
    assert (artifact.session, artifact.made_by) == (stage.live.session, "developer-2")
    told = Event.objects.filter(kind="artifact.kept", subject=stage.swarm.topic).latest("seq")
    assert (told.actor, told.payload["artifact"]) == ("agent:developer-2", str(artifact.pk))
    assert runner.send().json() == answer.json()
    assert runner.send(fence=uuid4()).status_code == 409
    settings.ARTIFACT_MB = 0
    refused = runner.send()
    assert (refused.status_code, refused.json()["faults"]) == (
        413,
        ["out/a.png has 0.7 MB; an artifact may have 0 MB."],
    )
    wrong = runner.send(name="/x")
    assert (wrong.status_code, "is no name" in wrong.json()["faults"][0]) == (422, True)
    runner.secret = "wg_wrong"
    assert runner.send().status_code == 404


def test_what_was_lost_each_time_is_told_to_the_runner_in_words(
    stage: Stage, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrive = contents.arrive

    def slow(source: Any, name: str) -> contents.Arrived:
        found = arrive(source, name)
        old()
        contents.prune()
        return found

    monkeypatch.setattr(contents, "arrive", slow)
    answer = Runner(stage, team).send()
    assert answer.status_code == 422, "a runner repeats what it is told as a 5xx"
    assert "3 times it took more than an hour" in answer.json()["faults"][0]
    assert "go on without it" in answer.json()["faults"][0]
    assert not Artifact.objects.filter(name="out/a.png").exists()


def body_of(answer: Any) -> bytes:
    return b"".join(answer)  # as sent: piece by piece


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume asynchronous iterators")
def test_members_take_it_home_and_it_can_do_nothing_in_their_browser(
    stage: Stage, team: Team, client_for: ClientFor, globex: Team
) -> None:
    hostile = io.BytesIO(b"<script>alert(1)</script>")
    page = keep(stage.live.session, hostile, name="x/räport.html", media_type="text/html")
    path = f"/artifacts/{page.pk}/"
    answer = client_for(user_of("vera", "acme"), team).get(path)
    assert answer.status_code == 200
    assert answer["Content-Disposition"] == "attachment; filename*=utf-8''r%C3%A4port.html"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert answer.is_async, "sent as it is read, not all at once"
    assert body_of(answer) == b"<script>alert(1)</script>"
    for stranger in (user_of("alice", "globex"), user_of("charlie")):
        refused, missing = (client_for(stranger, team).get(where) for where in (path, f"/artifacts/{uuid4()}/"))
        assert (refused.status_code, refused.content) == (404, missing.content)
    assert client_for(user_of("alice", "globex"), globex).get(path).status_code == 404
    contents.store().delete(contents.place_of(page.content.sha256))
    assert client_for(user_of("vera", "acme"), team).get(path).status_code == 404


def test_pages_show_artifacts_and_who_may_deletes_them(stage: Stage, team: Team, client_for: ClientFor) -> None:
    artifact = keep(stage.live.session, io.BytesIO(BYTES), name="<b>.png", media_type="image/png")
    swarm, node = "/projects/textkit/swarms/1/", "/projects/textkit/swarms/1/nodes/printer/"
    vera, bob = client_for(user_of("vera", "acme"), team), client_for(user_of("bob", "acme"), team)
    for path in (swarm, node, f"{swarm}regions/artifacts/"):
        text = vera.get(path).text
        assert f'href="/artifacts/{artifact.pk}/"' in text, path
        assert "&lt;b&gt;.png" in text
        assert "<b>.png" not in text
        assert "remove/" not in text
    assert f"/artifacts/{artifact.pk}/remove/" in bob.get(node).text
    assert vera.post(f"/artifacts/{artifact.pk}/remove/").status_code == 403
    assert bob.post(f"/artifacts/{artifact.pk}/remove/", {"next": node})["Location"] == node
    assert not Artifact.objects.filter(pk=artifact.pk).exists()
    assert Event.objects.get(kind="artifact.removed").actor == f"user:{user_of('bob', 'acme').pk}"


@pytest.fixture
def told(stage: Stage, team: Team) -> Callable[[str], Any]:
    boss = Membership.objects.get(team=team, role="owner")
    _, secret = programs.issue(boss, name="x", days=1)
    client = Client(headers={"authorization": f"Bearer {secret}"})
    return lambda path: client.get(path)


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume asynchronous iterators")
def test_programs_list_and_take_them(stage: Stage, told: Callable[[str], Any]) -> None:
    artifact = keeps(stage.live.session)
    listed, *_ = told(f"/t/acme/api/v1/swarms/{stage.swarm.pk}/artifacts").json()["artifacts"]  # the newest
    assert (listed["name"], listed["node"], listed["attempt"]) == ("out/a.png", "printer", 1)
    assert listed["sha256"] == artifact.content.sha256
    assert body_of(told(listed["url"])) == BYTES
    assert told(f"/t/acme/api/v1/artifacts/{uuid4()}").status_code == 404


def test_a_runners_own_code_and_the_web_process_send_it_in_pieces_both_ways(
    committed_team: Team, object_store: str, tmp_path: Path
) -> None:
    """Almost a hundred megabytes through the web process into a bucket and back: at no time does it hold them."""
    stage = Stage(user_of("alice", "acme"))
    data = tmp_path / "big.bin"
    write(data)
    secret = secret_of(stage.live, committed_team)
    member = programs.issue(Membership.objects.get(team=committed_team, role="owner"), name="x", days=1)[1]
    variables = {
        "WAGGLE_ARTIFACT_BUCKET": BUCKET,
        "WAGGLE_ARTIFACT_ENDPOINT": object_store,
        "WAGGLE_ARTIFACT_ACCESS_KEY": KEYS[0],
        "WAGGLE_ARTIFACT_SECRET_KEY": KEYS[1],
    }
    with serve("config.asgi:application", tmp_path, **variables) as web:
        root = f"http://127.0.0.1:{web.port}/t/acme"
        assignment = Assignment(
            execution=stage.live.pk,
            fence=stage.live.fence,
            team="acme",
            kind="work",
            subject="x",
            title="x",
            role="developer",
            session=stage.live.session_id,
            token=secret,
            url=f"{root}/runner/{stage.live.pk}",
        )

        async def send(name: str) -> ArtifactKept:
            reports = Reports(assignment)
            try:
                with data.open("rb") as file:
                    return await reports.artifact(file, name=name, media_type="application/x-big")
            finally:
                await reports.close()

        os.truncate(data, 1000)
        asyncio.run(send("small"))  # loads what there is to load
        before = peak_kilobytes(web.process.pid)
        write(data)
        kept = asyncio.run(send("ü/big.bin"))
        assert kept.size == 96 << 20
        digest = hashlib.sha256()
        address, headers = f"{root}/api/v1/artifacts/{kept.artifact}", {"authorization": f"Bearer {member}"}
        os.truncate(data, (100 << 20) + 1)
        with pytest.raises(Faults, match=r"^huge has 100\.0 MB; an artifact may have 100 MB\.$"):
            asyncio.run(send("huge"))
        with httpx.stream("GET", address, headers=headers) as answer:
            assert (answer.status_code, answer.headers["content-length"]) == (200, str(kept.size))
            assert answer.headers["x-content-type-options"] == "nosniff"
            for piece in answer.iter_raw():
                digest.update(piece)
        assert digest.hexdigest() == kept.sha256
        used = peak_kilobytes(web.process.pid) - before
        assert used < kept.size * 3 >> 12, f"{used} KB more than before: it was held in memory as a whole"
    assert Artifact.objects.get(pk=kept.artifact).name == "ü/big.bin"


def write(path: Path) -> None:
    """Ninety-six megabytes."""
    with path.open("wb") as file:
        for number in range(192):
            file.write(bytes([number]) * (1 << 19))


def peak_kilobytes(pid: int) -> int:
    """The most memory that a process has had."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1])


def test_an_outcome_may_name_only_what_was_kept_in_its_session(stage: Stage) -> None:
    mine, other = keeps(stage.live.session), keeps(session_of())
    assert artifacts.examine(stage.live, [mine.pk]) == []
    assert artifacts.examine(stage.live, [mine.pk, other.pk]) == [f"artifact {other.pk} was not kept in this session"]


def test_the_whole_output_of_a_check_is_beside_its_ends(stage: Stage, team: Team, client_for: ClientFor) -> None:
    run = stage.swarm.check_runs.get(purpose="before")
    stage.swarm.check_runs.filter(pk=run.pk)._raw_delete("default")
    run.pk, run.results = uuid4(), [run.results[0] | {"artifact": str(stage.artifact.pk)}]
    run.save(force_insert=True)
    link = f'<a href="/artifacts/{stage.artifact.pk}/" download>The whole output</a>'
    assert link in client_for(user_of("vera", "acme"), team).get("/projects/textkit/swarms/1/").text
    page = client_for(user_of("vera", "acme"), team).get(f"/archives/{stage.archive.pk}/nodes/-/").text
    assert f'<a href="/artifacts/{files.id_in(stage.archive, stage.artifact.pk)}/" download>The whole' in page
