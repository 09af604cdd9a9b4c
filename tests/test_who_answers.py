"""Whoever states a goal sees before whether a model of anybody's will answer."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from agents.models import Provider
from tenants.models import Team
from tests.board_stage import Stage
from tests.conftest import user_of

PAGES = ("/", "/projects/textkit/")


@pytest.mark.parametrize("page", PAGES)
def test_a_page_with_a_box_for_goals_says_while_no_model_is_connected(
    page: str, team: Team, client_for: Callable[..., Client], settings: Any
) -> None:
    Stage(user_of("alice", "acme"))
    Provider.objects.all().delete()
    alice, vera = client_for(user_of("alice", "acme"), team), client_for(user_of("vera", "acme"), team)
    settings.MODEL_BASE_URL, settings.MODEL_NAME, settings.MODEL_REHEARSAL = "http://127.0.0.1:9/v1", "x", True
    shown = alice.get(page).content.decode()
    assert "the <b>rehearsal</b> answers" in shown
    assert "Connect a model" in shown
    settings.MODEL_BASE_URL, settings.MODEL_REHEARSAL = "", False
    assert "agents that ask one get no answer" in alice.get(page).content.decode()
    assert "Owners and admins connect one" in vera.get("/").content.decode()
    settings.MODEL_BASE_URL = "https://api.example/v1"
    assert "No model is connected" not in alice.get(page).content.decode()
