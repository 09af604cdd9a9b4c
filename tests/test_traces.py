"""One trace from the goal to all that follows: events, messages, assignments, log lines."""

import logging

import pytest
from django.test import TestCase

from agents.models import Execution
from sessions.models import Event
from swarms import goals
from swarms.models import Project
from tests.hands import Hands
from tests.test_engine import hands, project, source  # noqa: F401 - fixtures


@pytest.mark.usefixtures("broker")
def test_everything_that_follows_from_a_goal_has_its_trace(
    project: Project,  # noqa: F811
    hands: Hands,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO), TestCase.captureOnCommitCallbacks(execute=True):
        swarm = goals.state_goal(project, "Write the files", by=hands.by)
        hands.run(swarm)
    assert swarm.state == "succeeded", swarm.because
    assert len(swarm.trace) == 32
    assert set(Event.objects.filter(subject=swarm.topic).values_list("trace", flat=True)) == {swarm.trace}
    assert set(Execution.objects.values_list("trace", flat=True)) == {swarm.trace}
    moves = [record.msg for record in caplog.records if isinstance(record.msg, dict) and "moved" in record.msg["event"]]
    nodes = [move for move in moves if move["event"] == "node moved" and move["after"] == "succeeded"]
    assert {move["node"] for move in nodes} == {"a", "b", "c", "r"}
    assert {move["swarm"] for move in nodes} == {str(swarm.pk)}
