"""What agents ask while they work: the official client against the real web process."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.utils import timezone
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

from agents.contracts import WorkOutcome
from agents.models import Execution
from agents.runtimes import colleagues
from sessions.models import Event, Session
from tenants import tokens
from tenants.models import Team
from tests.board_stage import Stage
from tests.conftest import user_of
from tests.fake_control_plane import call, serving, steps
from tests.stage_parts import execution
from tests.test_builtin_runtime import DONE, carry_out
from tests.web import Web, serve


@pytest.fixture(scope="module")
def web(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with serve("config.asgi:application", tmp_path_factory.mktemp("mcp")) as found:
        yield found


@pytest.fixture
def stage(committed_team: Team) -> Stage:
    return Stage(user_of("alice", "acme"))


def token_of(execution: Execution, team: Team) -> str:
    return tokens.issue("attempt", team=team, subject=f"execution:{execution.pk}")[1]


def asked(web: Web, secret: str, *calls: tuple[str, dict[str, Any]], team: str = "acme") -> list[Any]:
    """What the tools answer, and first which there are."""

    async def ask() -> list[Any]:
        async with create_mcp_http_client(headers={"Authorization": f"Bearer {secret}"}) as http:
            there = streamable_http_client(f"http://127.0.0.1:{web.port}/t/{team}/mcp", http_client=http)
            async with Client(there) as client:
                found: list[Any] = [[tool.name for tool in (await client.list_tools()).tools]]
                found += [await client.call_tool(name, given) for name, given in calls]
                return found

    return asyncio.run(ask())


def test_an_agent_hears_who_works_beside_it_and_tells_what_it_does(
    web: Web, stage: Stage, committed_team: Team
) -> None:
    names, alone, told = asked(
        web,
        token_of(stage.live, committed_team),
        ("read_context", {}),
        ("report_progress", {"text": "looks for the cause"}),
    )
    assert names == ["read_context", "report_progress"]
    assert alone.content[0].text == "You, developer-2, work on `printer` Write the printer.\nNobody works beside you."
    assert not told.is_error
    assert Session.objects.get(pk=stage.live.session_id).doing == "looks for the cause"
    assert Event.objects.filter(kind="agent.doing", payload__text="looks for the cause").exists()
    other = execution(stage.swarm, stage.runner, "plan:of-another", "coordinator-7", kind="plan")
    _, beside = asked(web, token_of(other, committed_team), ("read_context", {}))
    first, line = beside.content[0].text.split("\nAt work beside you:\n")
    assert first == "You are coordinator-7."
    assert line.startswith("- `printer` Write the printer, writes `printer/**`")
    assert "; developer-2 now: looks for the cause" in line


def test_what_is_asked_wrongly_is_answered_in_words(web: Web, stage: Stage, committed_team: Team) -> None:
    secret = token_of(stage.live, committed_team)
    _, missing, long, more, other = asked(
        web,
        secret,
        ("report_progress", {}),
        ("report_progress", {"text": "x" * 201}),
        ("read_context", {"swarm": "another"}),
        ("drop_tables", {}),
    )
    assert all(answer.is_error for answer in (missing, long, more, other))
    assert "text: Field required" in missing.content[0].text
    assert "at most 200" in long.content[0].text
    assert "swarm: Extra inputs" in more.content[0].text
    assert "there are read_context, report_progress" in other.content[0].text


@pytest.mark.parametrize("team", ["acme", "globex", "nobody"])
def test_without_the_token_of_a_live_execution_of_this_team_nothing_is_said(
    web: Web, stage: Stage, committed_team: Team, team: str
) -> None:
    def status(secret: str, scheme: str = "Bearer") -> int:
        asks = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        headers = {"Authorization": f"{scheme} {secret}"} if secret else {}
        return httpx.post(f"http://127.0.0.1:{web.port}/t/{team}/mcp", json=asks, headers=headers).status_code

    secret = token_of(stage.live, committed_team)
    assert [status(""), status("wg_attempt_wrong")] == [401, 401]
    assert status(secret, "Basic") == 401
    if team != "acme":
        assert status(secret) == 401
        return
    Execution.objects.filter(pk=stage.live.pk).update(cancel_at=timezone.now())
    assert status(secret) == 401


def test_the_built_in_agent_has_the_same_tools(web: Web, stage: Stage, committed_team: Team, tmp_path: Path) -> None:
    other = execution(stage.swarm, stage.runner, "plan:of-another", "coordinator-7", kind="plan")
    with serving(tmp_path / "plane") as plane:
        plane.script = steps(
            [call("read_context"), call("report_progress", text="counts the vowels")],
            [call("report_progress", text="x" * 201)],
            [call("write_file", path="greet.py", content="x = 1\n")],
            [call("final_result", summary="It is there.")],
        )
        there = f"http://127.0.0.1:{web.port}/t/acme/mcp"
        assignment = plane.assignment(mcp=there, token=token_of(other, committed_team))
        carry_out(assignment, tmp_path / "run", WorkOutcome)
        said = [message["content"] for message in plane.requests[-1]["messages"] if message["role"] == "tool"]
    assert said[0].startswith("You are coordinator-7.\nAt work beside you:\n- `printer` Write the printer, writes")
    assert said[1] == "Told."
    assert "at most 200" in said[2]
    assert Session.objects.get(pk=other.session_id).doing == "counts the vowels"
    offered = {tool["function"]["name"] for tool in plane.requests[0]["tools"]}
    assert {"read_context", "report_progress"} <= offered


def test_where_the_control_plane_does_not_answer_the_agent_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(colleagues, "PAUSE_SECONDS", 0.01)
    with serving(tmp_path / "plane") as plane:
        plane.script = steps([call("read_context")], [call("write_file", path="greet.py", content="x = 1\n")], DONE)
        carry_out(plane.assignment(mcp=f"{plane.url}/nowhere"), tmp_path / "run", WorkOutcome)
        (said, *_) = [one["content"] for one in plane.requests[-1]["messages"] if one["role"] == "tool"]
        assert "The control plane does not answer" in said
    with serving(tmp_path / "other") as plane:
        plane.script = steps([call("write_file", path="greet.py", content="x = 1\n")], DONE)
        carry_out(plane.assignment(), tmp_path / "again", WorkOutcome)
        assert not {"read_context", "report_progress"} & {t["function"]["name"] for t in plane.requests[0]["tools"]}
