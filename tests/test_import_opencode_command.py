"""manage.py import_opencode, and what people see of it."""

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from agents.opencode import wording
from sessions import history
from sessions.models import Event, Message, Part, Session
from swarms.management.commands import import_opencode
from swarms.models import Project
from tenants.context import in_schema
from tenants.models import Team
from tests.board_stage import Stage
from tests.conftest import user_of
from tests.opencode_stage import EVERY_TYPE, said, sample, session, text, write_database, write_export, write_tree


@pytest.fixture
def project(team: Team) -> Project:
    return Project.objects.create(
        slug="textkit", name="Text kit", source="/srv/textkit", state="ready", created_by=user_of("alice", "acme")
    )


def run(*words: str, team: str = "acme", project: str = "textkit") -> str:
    out = StringIO()
    call_command("import_opencode", *words, "--team", team, "--project", project, stdout=out, stderr=StringIO())
    return out.getvalue()


def facts(*words: str) -> dict[str, Any]:
    return json.loads(run(*words, "--json"))


def test_a_dry_run_then_an_import_then_nothing_new(team: Team, project: Project, tmp_path: Path) -> None:
    write_database(tmp_path, [sample(), session("ses_a", said("msg_a", *EVERY_TYPE))])
    dry = run(str(tmp_path), "--dry-run")
    assert "Nothing was written: this was a dry run." in dry
    assert "hologram 1 (e.g. msg_a-prt_000017)" in dry
    assert "todo 2" in dry
    assert not Session.objects.exists()
    assert run(str(tmp_path)).splitlines()[-1] == "Done."
    assert history.imported(project.topic).count() == 2
    assert run(str(tmp_path)).splitlines()[-1] == "Nothing new: all of it is here already."


def test_programs_get_the_report_as_json(team: Team, project: Project, tmp_path: Path) -> None:
    told = facts(str(write_export(tmp_path / "a.json", session("ses_a", said("msg_a", *EVERY_TYPE)))), "--dry-run")
    assert (told["dry_run"], told["sessions"]) == (True, {"new": 1, "grown": 0, "same": 0})
    assert told["parts"]["new"] == 18
    assert told["not_understood"]["hologram"] == {"count": 1, "example": "msg_a-prt_000017"}
    assert told["sources"] == [f"export {tmp_path / 'a.json'}"]


def test_several_exports_at_once(team: Team, project: Project, tmp_path: Path) -> None:
    paths = [str(write_export(tmp_path / f"{key}.json", session(key))) for key in ("ses_a", "ses_b")]
    assert facts(*paths)["sessions"]["new"] == 2


def test_without_a_path_the_usual_folder_is_read(
    team: Team, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    write_database(tmp_path / ".local" / "share" / "opencode", [session("ses_a")])
    assert facts()["sessions"]["new"] == 1
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    write_database(tmp_path / "data" / "opencode", [session("ses_b")])
    assert facts()["sessions"]["new"] == 1


def test_a_folder_may_be_given_as_it_is_seen_from_here(
    team: Team, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_database(tmp_path, [session("ses_a", directory=f"{tmp_path}/lib"), session("ses_b", projectID="other")])
    monkeypatch.chdir(tmp_path)
    assert facts(str(tmp_path), "--directory", "lib", "--dry-run")["sessions"]["new"] == 1
    assert facts(str(tmp_path), "--directory", ".", "--dry-run")["sessions"]["new"] == 1
    assert facts(str(tmp_path), "--directory", "/srv/sample", "--dry-run")["sessions"]["new"] == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"team": "nobody"}, "--team: there is no team with the address nobody"),
        ({"project": "nothing"}, "--project: the team has no project nothing. Its projects: textkit"),
    ],
)
def test_a_wrong_name_is_refused(
    team: Team, project: Project, tmp_path: Path, words: dict[str, str], told: str
) -> None:
    write_tree(tmp_path, [sample()])
    with pytest.raises(CommandError, match=told):
        run(str(tmp_path), **words)


def test_a_fault_of_the_source_is_told_after_what_was_taken(team: Team, project: Project, tmp_path: Path) -> None:
    good = write_export(tmp_path / "good.json", session("ses_a"))
    with pytest.raises(CommandError, match=r"nowhere does not exist\. Give the folder"):
        run(str(good), str(tmp_path / "nowhere"))
    assert history.imported(project.topic).count() == 1


def test_sessions_that_are_not_there_are_told(team: Team, project: Project, tmp_path: Path) -> None:
    write_tree(tmp_path, [session("ses_a"), session("ses_b")])
    with pytest.raises(CommandError, match="--session: not found: ses_x"):
        run(str(tmp_path), "--session", "ses_a", "ses_x")
    assert history.imported(project.topic).get().origin["key"] == "ses_a"


def test_large_imports_say_how_far_they_are(
    team: Team, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_database(tmp_path, [session("ses_a", said("msg_a", *(text() for _ in range(450))))])
    monkeypatch.setattr(import_opencode, "PROGRESS_SECONDS", 0)
    errors = StringIO()
    call_command("import_opencode", str(tmp_path), "--team=acme", "--project=textkit", stdout=StringIO(), stderr=errors)
    assert "… 0 sessions, 1 messages, 199 parts so far" in errors.getvalue()
    assert "450 parts so far" in errors.getvalue()


def test_many_broken_records_are_counted_and_some_named() -> None:
    report = wording.Report()
    for number in range(wording.SHOWN + 5):
        report.skip(f"prt_{number}", "not JSON\x1b[2J")
    told = "\n".join(wording.lines(report))
    assert "Skipped, because broken: 25" in told
    assert "… and 5 more" in told
    assert "\x1b" not in told


def test_what_was_imported_is_removed_by_the_projects_name_and_nothing_else(
    team: Team, project: Project, tmp_path: Path
) -> None:
    write_database(tmp_path, [session(f"ses_{n:02}", said(f"msg_{n}", text())) for n in range(45)])
    own = Session.objects.create(subject=project.topic, title="planned here", agent="coordinator-1")
    other = Session.objects.create(
        subject=project.topic, title="from elsewhere", agent="x", origin={"program": "Other", "key": "ses_01"}
    )
    run(str(tmp_path))
    for words in (("--remove",), ("--remove", "text"), ("--remove", "textkit", str(tmp_path))):
        with pytest.raises(CommandError):
            run(*words)
    with pytest.raises(CommandError, match="not imported: ses_99"):
        run("--remove", "textkit", "--session", "ses_99")
    assert run("--remove", "textkit", "--dry-run") == "45 imported sessions of textkit would be deleted.\n"
    assert history.imported(project.topic, "OpenCode").count() == 45
    assert run("--remove", "textkit", "--session", "ses_00") == "1 imported session of textkit deleted.\n"
    assert facts("--remove", "textkit") == {"dry_run": False, "removed": 44}
    assert set(Session.objects.all()) == {own, other}
    assert not Message.objects.exists()
    assert not Part.objects.exists()
    assert Event.objects.filter(subject=project.topic, kind="sessions.removed").count() == 4
    assert run(str(tmp_path)).splitlines()[-1] == "Done."


def test_a_person_at_a_terminal_is_asked_for_the_name(
    team: Team, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(str(write_export(tmp_path / "a.json", session("ses_a"))))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "no")
    with pytest.raises(CommandError, match="Nothing was deleted"):
        run("--remove")
    monkeypatch.setattr("builtins.input", lambda question: "textkit " if "Delete 1 sessions" in question else "")
    run("--remove")
    assert not history.imported(project.topic).exists()


def test_another_team_sees_nothing_of_it(team: Team, project: Project, globex: Team, tmp_path: Path) -> None:
    with in_schema(globex.schema_name):
        Stage(user_of("alice", "globex"))
    run(str(write_export(tmp_path / "a.json", session("ses_a"))))
    with in_schema(globex.schema_name):
        assert not Session.objects.filter(origin__isnull=False).exists()


@pytest.fixture
def alice(team: Team, client_for: Callable[..., Client]) -> Client:
    return client_for(user_of("alice", "acme"), team)


def test_before_an_import_the_page_says_what_one_is_and_how_it_is_run(
    team: Team, project: Project, alice: Client
) -> None:
    assert "none yet: how to import" in alice.get("/projects/textkit/").content.decode()
    body = alice.get("/projects/textkit/sessions/").content.decode()
    assert "Nothing was imported yet" in body
    assert "manage.py import_opencode ~/.local/share/opencode --team acme --project textkit --dry-run" in body


def test_imported_sessions_are_listed_and_lead_to_their_transcripts(
    team: Team, project: Project, alice: Client, tmp_path: Path
) -> None:
    child = session("ses_child", parentID="ses_a", title="<script>alert(1)</script>", directory="/srv/<b>bold")
    run(str(write_database(tmp_path, [sample(), child])))
    assert "2 from OpenCode" in alice.get("/projects/textkit/").content.decode()
    body = alice.get("/projects/textkit/sessions/").content.decode()
    assert "Scripted title (imported from OpenCode)" in body
    assert "/srv/sample/proj/b" in body
    assert "subagent" in body
    assert "<script>alert" not in body
    assert "<b>bold" not in body
    assert "Page 1 of" not in body
    row = history.imported(project.topic).get(origin__key=sample()["info"]["id"])
    assert f"/sessions/{row.pk}/" in body
    page = alice.get(f"/sessions/{row.pk}/").content.decode()
    head = " ".join(page[: page.index("<main")].split())
    assert "OpenCode · " in head
    assert "Imported from OpenCode 1.1.65" in head
    assert "<code>/srv/sample/proj/b</code>" in head
    assert "begun 2026-11-22 07:22, last changed 2026-11-22 07:23 UTC" in head
    assert "Created hello.py, edited it and ran it" in page
    assert "data-follow" not in page
    assert '<b>edit</b> <span class="tool-title">hello.py</span>' in page
    part = alice.get("/projects/textkit/sessions/", headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in part
    assert "Scripted title" in part


def test_long_lists_have_pages(team: Team, project: Project, alice: Client, tmp_path: Path) -> None:
    times = [{"created": 10**12 + n * 1000, "updated": 10**12 + n * 1000} for n in range(120)]
    run(str(write_database(tmp_path, [session(f"ses_{n:03}", time=time) for n, time in enumerate(times)])))
    first, last, beyond = (
        alice.get(f"/projects/textkit/sessions/{query}").content.decode() for query in ("", "?page=3", "?page=99")
    )
    assert "Page 1 of 3, 120 sessions" in first
    assert "About ses_119" in first
    assert "About ses_069" not in first
    assert 'rel="next" href="?page=2"' in first
    assert 'rel="prev"' not in first
    assert "About ses_000" in last
    assert 'rel="prev" href="?page=2"' in last
    assert "About ses_000" in beyond
    assert alice.get("/projects/textkit/sessions/?page=x").status_code == 200
