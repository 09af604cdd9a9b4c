"""From what was told to what is: the states that events say. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

Row = tuple[str, str]
"""A noun and an id."""


class Move(NamedTuple):
    """One row changed its state."""

    noun: str
    id: str
    before: str
    after: str
    name: str = ""
    because: str = ""
    reason: str = ""

    @property
    def row(self) -> Row:
        return self.noun, self.id


def moves(kind: str, payload: Mapping[str, Any]) -> Iterator[Move]:
    """The moves that one event tells of, in order; none for an event about something else."""
    if kind == "nodes.moved":
        for one in payload["moves"]:
            yield _move(one["noun"], one)
    elif kind.endswith(".moved") and "before" in payload:
        yield _move(kind.removesuffix(".moved"), payload)


def _move(noun: str, told: Mapping[str, Any]) -> Move:
    words = (told.get("name", ""), told.get("because", ""), told.get("reason", ""))
    return Move(noun, told["id"], told["before"], told["after"], *words)


def fold(told: Iterable[Move], start: Mapping[str, str]) -> tuple[dict[Row, str], list[str]]:
    """The state of each row that was ever moved, and what is wrong with the story: moves that begin elsewhere.

    `start` is the state in which rows of a noun are made.
    """
    states: dict[Row, str] = {}
    faults: list[str] = []
    for move in told:
        was = states.get(move.row, start.get(move.noun, move.before))
        if was != move.before:
            faults.append(f"{move.noun} {move.id}: an event moves it from {move.before}, but it was {was}")
        states[move.row] = move.after
    return states, faults


def differences(states: Mapping[Row, str], rows: Mapping[Row, str], start: Mapping[str, str]) -> list[tuple[Row, str]]:
    """Rows whose state is another than their events say, in words."""
    found = []
    for row, state in rows.items():
        told = states.get(row, start[row[0]])
        if told != state:
            found.append((row, f"{row[0]} {row[1]} is {state}, and its events say {told}"))
    return found
