"""Where no sandbox works, people see it."""

import io
from collections.abc import Callable

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from agents.management.commands.runners import WORDS
from tenants.models import Runner, Team
from tests.conftest import user_of
from tests.test_gateway import working


@pytest.mark.parametrize(
    ("sandbox", "on_the_page", "by_the_command"),
    [
        ("none", "no sandbox: agents&#x27; commands are refused", WORDS["none"]),
        ("unconfined", "agents&#x27; commands may do all that this runner may", WORDS["unconfined"]),
        ("bubblewrap", "sandbox <b>bubblewrap</b>", "sandbox bubblewrap"),
    ],
)
def test_a_runner_says_what_locks_commands_in(
    team: Team, client_for: Callable[..., Client], sandbox: str, on_the_page: str, by_the_command: str
) -> None:
    working(team)
    Runner.objects.update(sandbox=sandbox, channel="x", seen_at=timezone.now())
    page = client_for(user_of("alice", "acme"), team).get("/agents/").text
    out = io.StringIO()
    call_command("runners", stdout=out)

    assert on_the_page.replace("&#x27;", "'") in page.replace("&#x27;", "'")
    assert (sandbox == "bubblewrap") is ("no sandbox" not in page)
    assert f"connected  {by_the_command}" in out.getvalue()
