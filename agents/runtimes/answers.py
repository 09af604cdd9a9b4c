"""What an agent gives back at its end, by the kind of its assignment."""

from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, create_model

from agents.contracts import Assignment, Finding, Given, PlanProposal
from agents.contracts.answers import form


class Summary(BaseModel):
    """What was done."""

    summary: str = Field(min_length=1, description="One to three sentences.")
    artifacts: list[str] = Field(
        default=[],
        max_length=50,
        description="Paths of files to keep for people beside your commit, such as reports, pictures or logs."
        " New files among them are not committed.",
    )


class Review(BaseModel):
    """The judgement of a reviewer."""

    verdict: Literal["approve", "request_changes"]
    summary: str = Field(min_length=1)
    findings: list[Finding] = []


Answer = PlanProposal | Summary | Review
ANSWERS: dict[str, type[Answer]] = {"plan": PlanProposal, "work": Summary, "review": Review}


def wanted(assignment: Assignment) -> type[Answer]:
    """What the agent of this assignment gives back: with `answers`, where its node asks for some by name."""
    plain = ANSWERS[assignment.kind]
    if not assignment.answers:
        return plain
    named: Any = (form(assignment.answers), Field(description="What the briefing asks to be answered, by name."))
    return create_model(plain.__name__, __base__=plain, answers=named)


def named(answer: Answer) -> dict[str, Given]:
    """The named answers in it."""
    found = getattr(answer, "answers", None)
    return found.model_dump(by_alias=True) if isinstance(found, BaseModel) else {}


def faults_of(error: ValidationError) -> list[str]:
    """What is wrong with an answer, each with its place."""
    return [f"{'.'.join(map(str, one['loc'])) or 'it'}: {one['msg']}" for one in error.errors()]
