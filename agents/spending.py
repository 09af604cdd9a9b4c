"""The gateway's side of money: how much a model call may cost, held before it and booked after it."""

import json

from agents import budgets
from agents.contracts import Usage
from agents.metering import Caller
from agents.prices import cost
from agents.provider import Refused
from tenants.context import in_schema

MOST_OUTPUT = 8192
"""Tokens of an answer whose request gives no limit: more than agents' steps have, and what many models stop at."""


def most_tokens(body: bytes) -> Usage:
    """The most that a request may use: no token is shorter than a byte, and the answer ends at the request's limit."""
    asked = json.loads(body)
    limits = [asked.get(name) for name in ("max_completion_tokens", "max_tokens")]
    given = [limit for limit in limits if isinstance(limit, int) and limit > 0]
    choices = asked.get("n")
    answers = choices if isinstance(choices, int) and choices > 0 else 1
    return Usage(input_tokens=len(body), output_tokens=answers * (min(given) if given else MOST_OUTPUT))


def hold(caller: Caller, body: bytes) -> int:
    """Before a call: set aside the most that it may cost, in every budget of its execution.

    Returns that amount; 0 where nothing has a budget. Raises Refused (402) when the price is not known or there is
    not enough left.
    """
    if not caller.is_budgeted or caller.rehearsal:
        return 0
    with in_schema(caller.schema):
        name = caller.asked
        most = cost(name, most_tokens(body), asked=name, base_url=caller.base_url)
        if most is None:
            raise Refused(
                402,
                "model_unpriced",
                f"A budget is set, and nobody knows the price of {name}. An owner or admin can set it in the team's "
                "administration under Model prices (0 for a model that costs nothing).",
            )
        short = budgets.hold(caller.execution, most)
    if short is not None:
        raise Refused(
            402,
            "budget_exhausted",
            f"The budget of {short} has no room for a call that may cost ${most / 1e6:.4f}. Raise it, or send "
            "max_tokens to bound the answer.",
        )
    return most
