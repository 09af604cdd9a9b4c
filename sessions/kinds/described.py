"""What the kinds of events mean, read from their models: for documentation, never on the way of an event. Pure."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel

from sessions.kinds import KINDS

_WORDS: dict[Any, str] = {
    str: "text",
    int: "number",
    float: "number",
    bool: "true or false",
    UUID: "uuid",
    datetime: "moment",
    NoneType: "null",
}


@dataclass(frozen=True)
class Described:
    """A field: its name (`moves[].noun` inside of a list), what stands there, and what that means."""

    name: str
    type: str
    meaning: str


def sentence(model: type[BaseModel]) -> str:
    """What an event of this model tells. Raises ValueError when nothing says so."""
    found = inspect.cleandoc(vars(model).get("__doc__") or "")
    if not found:
        raise ValueError(f"{model.__name__} has no sentence")
    return found


def fields(model: type[BaseModel], above: str = "") -> Iterator[Described]:
    """The fields of a model, those of models inside of it after the field that holds them.

    Raises ValueError for one whose meaning is not told.
    """
    told = _docstrings(model)
    for name, field in model.model_fields.items():
        if name not in told:
            raise ValueError(f"{model.__name__}.{name} has no docstring")
        words, inner, many = _type(field.annotation)
        yield Described(above + name, words, told[name])
        if inner is not None:
            yield from fields(inner, f"{above}{name}{'[]' if many else ''}.")


def schema() -> dict[str, Any]:
    """JSON Schema of the payload of each kind."""
    return {kind: model.model_json_schema() for kind, model in sorted(KINDS.items())}


def _type(annotation: Any) -> tuple[str, type[BaseModel] | None, bool]:
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return " or ".join(_type(one)[0] for one in inside), None, False
    if origin is list:
        words, inner, _ = _type(inside[0])
        return f"list of {words}", inner, True
    if origin is dict:
        return "object", None, False
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "objects", annotation, False
    return _WORDS[annotation], None, False


def _docstrings(model: type[BaseModel]) -> dict[str, str]:
    """Each field's docstring: the text below it, in its class or one above."""
    found: dict[str, str] = {}
    for one in reversed([one for one in model.__mro__ if issubclass(one, BaseModel) and one is not BaseModel]):
        body = ast.parse(textwrap.dedent(inspect.getsource(one))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                    found[name] = " ".join(words.split())
    return found
