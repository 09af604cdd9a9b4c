"""What the real program has written is imported as its own server tells it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agents.opencode.mapping import name
from agents.opencode.shapes import UNFINISHED
from sessions import history
from sessions.models import Message, Part, Session
from swarms.models import Project
from tenants.models import Team
from tests.opencode_real import Developer, worked
from tests.test_import_opencode import rows
from tests.test_import_opencode_command import facts, project  # noqa: F401
from tests.test_opencode_runtime import program  # noqa: F401

pytestmark = pytest.mark.timeout(300)
SAYS_NOTHING = "step-start"


@pytest.fixture(scope="module")
def developer(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Developer]:  # noqa: F811
    with worked(program, tmp_path_factory.mktemp("developer")) as found:
        yield found


def moment(ms: float) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def is_told(part: Part, given: dict[str, Any]) -> None:
    """A part here says what OpenCode's says."""
    match given["type"]:
        case "text" if given.get("synthetic"):
            assert (part.kind, part.text) == ("text", f"**Added by OpenCode**\n\n{given['text']}")
        case "text" | "reasoning":
            assert (part.kind, part.text) == (given["type"], given["text"])
        case "tool":
            state = given["state"]
            told = {"completed": "done", "error": "failed"}[state["status"]]
            assert (part.kind, part.state, part.tool, part.input) == ("tool", told, given["tool"], state["input"])
            assert part.output.startswith((state.get("output") or state["error"]).rstrip("\n"))
            assert state.get("metadata", {}).get("diff", "").rstrip("\n") in part.output
            assert (part.started_at, part.ended_at) == (moment(state["time"]["start"]), moment(state["time"]["end"]))
        case "file":
            assert (part.kind, part.input) == ("file", {"name": given["filename"], "mime": given["mime"]})
        case "patch":
            assert (part.kind, part.text.splitlines()[:-2]) == ("patch", given["files"])
        case "step-finish":
            tokens = given["tokens"]
            assert (part.kind, part.text) == ("step", given["reason"])
            assert part.usage["input_tokens"] == tokens["input"] + tokens["cache"]["read"] + tokens["cache"]["write"]
            assert part.usage["output_tokens"] == tokens["output"]
        case other:
            raise AssertionError(f"a part of type {other}")


def test_what_it_has_written_is_told_as_its_server_tells_it(
    team: Team,
    project: Project,  # noqa: F811
    developer: Developer,
) -> None:
    counted = facts(str(developer.data), "--dry-run")
    assert not Session.objects.exists()
    took = facts(str(developer.data))
    assert took | {"dry_run": True} == counted
    assert (took["not_understood"], took["kept_as_text"], took["skipped"]["count"]) == ({}, {}, 0)
    assert took["not_taken"]["todo"] == sum(len(session["todo"]) for session in developer.sessions.values()) == 1
    assert set(took["left_out"]) == {SAYS_NOTHING, "contents of an attached file", "full output of a tool"}

    assert history.imported(project.topic).count() == len(developer.sessions) == 2
    types = set()
    for key, session in developer.sessions.items():
        row = Session.objects.get(pk=name(project.topic, key))
        info = session["info"]
        assert row.title == f"{info['title']} (imported from OpenCode)"
        assert (row.origin["parent"], row.origin["directory"]) == (info.get("parentID", ""), info["directory"])
        assert (row.created_at, row.ended_at) == (moment(info["time"]["created"]), moment(info["time"]["updated"]))
        messages = list(row.messages.order_by("number"))
        assert [message.pk for message in messages] == [
            name(project.topic, each["info"]["id"]) for each in session["messages"]
        ]
        for message, each in zip(messages, session["messages"], strict=True):
            assert (message.role, message.created_at) == (each["info"]["role"], moment(each["info"]["time"]["created"]))
            given = [part for part in each["parts"] if part["type"] != SAYS_NOTHING]
            parts = list(message.parts.order_by("index"))
            if error := each["info"].get("error"):
                assert (parts[-1].kind, parts[-1].text) == ("error", f"{error['name']}: {error['data']['message']}")
                parts.pop()
            assert [part.pk for part in parts] == [name(project.topic, part["id"]) for part in given]
            for part, one in zip(parts, given, strict=True):
                is_told(part, one)
            types |= {part.kind for part in message.parts.all()}
    assert types == {"text", "reasoning", "tool", "file", "patch", "step", "error"}
    tools = Part.objects.filter(kind="tool").values_list("tool", "state")
    assert {("bash", "failed"), ("bash", "done"), ("edit", "done"), ("read", "failed"), ("task", "done")} <= set(tools)
    authors = Message.objects.filter(role="user").values_list("session__origin__parent", "author")
    assert {(bool(parent), author) for parent, author in authors} == {(False, "Developer"), (True, "")}

    before = rows(project.topic)
    assert facts(str(developer.data))["changes_nothing"]
    assert facts(str(developer.exported))["changes_nothing"]
    assert rows(project.topic) == before


def test_an_export_gives_the_same_as_its_database(
    team: Team,
    project: Project,  # noqa: F811
    developer: Developer,
) -> None:
    facts(str(developer.exported))
    exported = rows(project.topic)
    history.remove(project.topic, "OpenCode")
    facts(str(developer.data), "--session", next(iter(developer.sessions)))
    assert rows(project.topic) == exported


def test_what_was_taken_while_it_worked_grows_into_what_it_became(
    team: Team,
    project: Project,  # noqa: F811
    developer: Developer,
) -> None:
    assert facts(str(developer.early))["sessions"]["new"] == 1
    (waits,) = Part.objects.filter(state="open")
    assert (waits.tool, waits.output) == ("bash", UNFINISHED)
    assert facts(str(developer.data))["parts"]["grown"] >= 1
    grown = rows(project.topic)
    assert not Part.objects.filter(state="open").exists()
    history.remove(project.topic, "OpenCode")
    facts(str(developer.data))
    assert rows(project.topic) == grown
