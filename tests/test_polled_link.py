"""A runner's link over plain HTTP: the runner's side against a scripted control plane, ours on a real web process."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from django.utils import timezone

from agents.contracts import FailureOutcome
from agents.contracts.link import (
    PROTOCOL,
    TAKEN,
    Assign,
    Beat,
    Heard,
    Heartbeat,
    Hello,
    Order,
    Said,
    Verdicts,
    Welcome,
)
from agents.models import Execution
from agents.nudges import nudge
from swarms import dispatch, engine, goals
from swarms.models import Project
from tenants import tokens
from tenants.models import Due, Runner, Team
from tests.conftest import user_of
from tests.fake_control_plane import REFUSAL, FakeControlPlane, call, serving, steps, until
from tests.test_runner import DONE, begin_sleeping, processes_now_with, running
from tests.test_timeouts import Holding, source_project
from tests.web import serve


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[FakeControlPlane]:
    with serving(tmp_path / "plane") as plane:
        yield plane


@pytest.mark.parametrize("status", [400, 404, 426])
def test_where_no_websocket_gets_through_all_goes_over_http(
    status: int, plane: FakeControlPlane, tmp_path: Path
) -> None:
    plane.no_websocket = status
    with running(plane, tmp_path / "runner"):
        until(lambda: plane._send is not None, "the runner listens")
        assignment, _ = begin_sleeping(plane)
        until(lambda: plane.beats, "heartbeats are heard")
        plane.orders = {assignment.execution: Order(verdict="cancel")}
        until(lambda: plane.ended, "an order is heard")
        assert isinstance(plane.outcomes[0], FailureOutcome)
        plane.script = steps([call("write_file", path="a.txt", content="b")], DONE)
        plane.assign(plane.assignment())
        until(lambda: len(plane.outcomes) == 2, "the next one is carried out")


@pytest.mark.parametrize("trouble", ["down", "lies"])
def test_work_goes_on_while_nobody_answers(trouble: str, plane: FakeControlPlane, tmp_path: Path) -> None:
    with running(plane, tmp_path / "runner", WAGGLE_RUNNER_LINK="http"):
        until(lambda: plane._send is not None, "the runner listens")
        assignment, _ = begin_sleeping(plane)
        setattr(plane, trouble, True)
        time.sleep(2)
        greeted = len(plane.hellos)
        setattr(plane, trouble, False)
        until(lambda: len(plane.hellos) > greeted, "it greets again")
        assert plane.hellos[-1].holding == (assignment.execution,)
        plane.orders = {assignment.execution: Order(verdict="stale")}


@pytest.mark.parametrize("link", ["websocket", "http"])
def test_a_runner_that_is_not_let_in_stops_its_work_says_why_and_comes_again(
    link: str, plane: FakeControlPlane, tmp_path: Path
) -> None:
    with running(plane, tmp_path / "runner", WAGGLE_RUNNER_LINK=link):
        until(lambda: plane._send is not None, "the runner listens")
        _, marker = begin_sleeping(plane)
        plane.refuses = TAKEN
        until(lambda: not processes_now_with(marker), "its work stops")
        until(lambda: "assignment ended" in (tmp_path / "runner.log").read_text(), "its work is over")
        greeted, plane.refuses = len(plane.hellos), 0
        until(lambda: len(plane.hellos) > greeted, "it is let in again")
        until(lambda: plane.hellos[-1].holding == (), "it holds nothing")
    assert (tmp_path / "runner.log").read_text().count(REFUSAL) == 1
    assert plane.outcomes == []


class Poller:
    """A runner that speaks HTTP, step by step."""

    def __init__(self, port: int, secret: str) -> None:
        self.boot = uuid4()
        headers = {"Authorization": f"Bearer {secret}", "Host": "waggle.localhost"}
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30)

    def post(self, said: Said) -> httpx.Response:
        return self.client.post("/runner/", content=said.model_dump_json())

    def say(self, *messages: Any, wait: bool = False) -> tuple[Any, ...]:
        answer = self.post(Said(messages=messages, boot=self.boot, wait=wait))
        assert answer.status_code == 200, answer.text
        return Heard.model_validate_json(answer.content).messages


def test_a_runner_over_http_is_greeted_nudged_answered_and_refused_once_its_token_ends(
    committed_team: Team, settings: Any, tmp_path: Path, broker: object
) -> None:
    source_project(settings, tmp_path)
    hands = Holding(committed_team)
    token, secret = tokens.issue("runner")
    Runner.objects.filter(pk=hands.runner.pk).update(token=token)
    with serve("config.asgi:application", tmp_path) as web, ThreadPoolExecutor(1) as pool:
        poller = Poller(web.port, secret)
        hello = Hello(name="hands", boot=poller.boot, version="1", protocol=PROTOCOL, capacity=4, sandbox="none")
        (welcome,) = poller.say(hello)
        assert isinstance(welcome, Welcome)
        assert welcome.runner == hands.runner.pk

        listening = pool.submit(poller.say, wait=True)
        until(lambda: Runner.objects.get(pk=hands.runner.pk).channel, "it listens")
        hands.runner.refresh_from_db()
        silent, someone = poller.say(), uuid4()
        assert silent == ()
        nudge(hands.runner, stale=[someone])
        assert listening.result(30) == (Verdicts(executions={someone: Order(verdict="stale")}),)

        goals.state_goal(Project.objects.get(), "Write the file", by=user_of("alice", "acme"))
        for due in Due.objects.filter(kind="advance"):
            engine.advance(due.subject)
        listening = pool.submit(poller.say, wait=True)
        Runner.objects.filter(pk=hands.runner.pk).update(seen_at=timezone.now())
        until(dispatch.dispatch, "it is placed")
        given = listening.result(30)
        assert isinstance(given[0], Assign)
        # Another process with the same token neither hears nor says anything.
        other = Poller(web.port, secret)
        for said in (Said(messages=(hello.model_copy(update={"boot": other.boot}),)), Said(wait=True)):
            answer = other.post(said.model_copy(update={"boot": other.boot}))
            assert (answer.status_code, "Another process works" in answer.text) == (409, True)
        live = Execution.objects.get(pk=given[0].assignment.execution)
        beat = Beat(execution=live.pk, fence=live.fence)
        (verdicts,) = poller.say(Heartbeat(executions=(beat,)))
        assert verdicts.executions[live.pk].verdict == "continue"

        assert poller.client.post("/runner/", content=b"nonsense").status_code == 400
        assert poller.client.get("/runner/").status_code == 405
        hands.runner.refresh_from_db()
        heard_before = hands.runner.channel
        refused = pool.submit(poller.post, Said(boot=poller.boot, wait=True))
        until(lambda: Runner.objects.get(pk=hands.runner.pk).channel != heard_before, "it listens")
        tokens.Token.objects.filter(pk=token.pk).update(revoked_at="2026-01-01T00:00:00Z")
        assert refused.result(30).status_code == 401, "who listens is told before its request would end"
        assert poller.post(Said()).status_code == 401
        assert httpx.post(f"http://127.0.0.1:{web.port}/runner/", content=b"{}").status_code == 401
