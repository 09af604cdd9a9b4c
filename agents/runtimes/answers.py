"""What an agent gives back at its end, by the kind of its assignment."""

from typing import Literal

from pydantic import BaseModel, Field, ValidationError

from agents.contracts import Finding, PlanProposal


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


def faults_of(error: ValidationError) -> list[str]:
    """What is wrong with an answer, each with its place."""
    return [f"{'.'.join(map(str, one['loc'])) or 'it'}: {one['msg']}" for one in error.errors()]
