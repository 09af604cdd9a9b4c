"""The gateway's side of money: how much a model call may cost, held before it and booked after it."""

import json
from dataclasses import replace

from agents import budgets
from agents.contracts import Usage
from agents.metering import Caller
from agents.passage import Refused, unauthorized
from agents.prices import cost
from agents.routes import Way
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


def hold(caller: Caller, body: bytes) -> tuple[int, tuple[Way, ...]]:
    """Before a call: set aside the most that it may cost, in every budget of its execution.

    Returns that amount, 0 where nothing has a budget, and the ways with what it may cost there. A way whose price is
    not known, or too much for what is left, has a fault. Raises Refused: 402 where no way is left for that reason,
    401 where the execution has ended.
    """
    if not caller.is_budgeted or caller.rehearsal:
        return 0, caller.ways
    with in_schema(caller.schema):
        usage = most_tokens(body)
        ways = tuple(_priced(way, usage) for way in caller.ways)
        costs = sorted({way.most_microusd for way in ways if not way.fault}, reverse=True)
        short: str | None = None
        for most in costs:
            try:
                short = budgets.hold(caller.execution, most)
            except budgets.Over as error:
                raise unauthorized() from error  # it ended while the call came in
            if short is None:
                return most, tuple(_within(most, way) for way in ways)
    if not costs:
        unpriced = [priced.fault for way, priced in zip(caller.ways, ways, strict=True) if not way.fault]
        if not unpriced:
            return 0, ways
        raise Refused(402, "model_unpriced", unpriced[0])
    raise Refused(
        402,
        "budget_exhausted",
        f"The budget of {short} has no room for a call that may cost ${costs[-1] / 1e6:.4f}. Raise it, or send "
        "max_tokens to bound the answer.",
    )


def _priced(way: Way, usage: Usage) -> Way:
    route, name = way.route, way.route.model
    if way.fault:
        return way
    most = cost(name, usage, asked=name, base_url=route.base_url, provider=route.id)
    if most is not None:
        return replace(way, most_microusd=most)
    return replace(
        way,
        fault=f"A budget is set, and nobody knows the price of {name}. An owner or admin can set it in the team's "
        "administration under Model prices (0 for a model that costs nothing).",
    )


def _within(most: int, way: Way) -> Way:
    if way.fault or way.most_microusd <= most:
        return way
    return replace(way, fault=f"The budget has no room for a call that may cost ${way.most_microusd / 1e6:.4f} there.")
