"""Budgets for members' programs."""

from decimal import Decimal

from django.http import JsonResponse
from pydantic import Field

from agents.budgets import SOFT_PERCENT
from swarms import allowances, purses
from swarms.api.programs import Given, body_of, program
from swarms.vertex import MOST_DOLLARS
from tenants.access import TeamRequest
from tenants.roles import Permission


class Limit(Given):
    """How much may be spent on what; null: without a limit."""

    of: str = ""
    limit_usd: Decimal | None = Field(ge=0, le=MOST_DOLLARS, decimal_places=6)
    soft_percent: int = Field(default=SOFT_PERCENT, ge=1, le=100)


@program("GET", Permission.VIEW)
def listed(request: TeamRequest) -> JsonResponse:
    """Every budget of the team: its own first, then what is nearest its limit."""
    return JsonResponse({"budgets": [purses.told(one) for one in purses.all_of_team()]})


@program("POST", Permission.SPEND)
def put(request: TeamRequest) -> JsonResponse:
    """Set a budget, or take it away."""
    given = body_of(request, Limit)
    subject = purses.subject_named(given.of)
    microusd = None if given.limit_usd is None else int(given.limit_usd * purses.DOLLAR)
    allowances.set_budget(subject, microusd, given.soft_percent, by=request.user)
    found = purses.purse(subject)
    return JsonResponse({"budget": purses.told(found) if found else None})
