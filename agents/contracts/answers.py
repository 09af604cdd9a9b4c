"""The form of named answers: what an agent is asked for, as a model that its answers must fit."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model

from agents.contracts.assignment import AnswerAsked, Given

LARGEST = 1e15
"""Of numbers, up and down from 0."""


def form(asked: Sequence[AnswerAsked]) -> type[BaseModel]:
    """A model with a field for each answer, all of them needed. Names are aliases: a model has names of its own."""
    fields: dict[str, Any] = {
        f"answer_{place}": (_type(one), Field(alias=one.name, description=one.asks)) for place, one in enumerate(asked)
    }
    return create_model("Answers", __config__=ConfigDict(extra="forbid"), **fields)


def read(asked: Sequence[AnswerAsked], given: Mapping[str, Given]) -> tuple[dict[str, Given], list[str]]:
    """Answers as they are kept, and what is wrong with them, in words that name each."""
    if not asked and not given:
        return {}, []
    try:
        return form(asked).model_validate(given).model_dump(by_alias=True), []
    except ValidationError as error:
        return {}, [f"{'.'.join(map(str, ('answers', *one['loc'])))}: {one['msg']}" for one in error.errors()]


def _type(asked: AnswerAsked) -> Any:
    match asked.kind:
        case "yes_no":
            return Annotated[Literal["yes", "no"], BeforeValidator(_in_words)]
        case "number":
            number = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-LARGEST, le=LARGEST)]
            return Annotated[number, AfterValidator(_plain)]
    return Literal[asked.words]


def _in_words(value: Any) -> Any:
    return ("no", "yes")[value] if isinstance(value, bool) else value


def _plain(number: float) -> float:
    """A whole number without its fraction."""
    return int(number) if number.is_integer() else number
