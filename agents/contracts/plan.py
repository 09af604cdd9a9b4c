"""What a coordinator proposes: the nodes of a plan."""

from typing import Any, Literal

from pydantic import Field, field_validator

from agents.contracts.assignment import AnswerAsked, Check, Frozen


class EdgeCondition(Frozen):
    """A dependency that counts only when the parent's output says so."""

    parent: str = Field(description="Key of a node in depends_on.")
    field: str = Field(
        description="Name in the parent's output: one of its `answers`; a review has 'verdict', all have 'summary'."
    )
    values: tuple[str, ...] = Field(default=(), description="It must be one of these; for numbers give bounds instead.")
    at_least: float | None = Field(default=None, description="For a number: it must not be less.")
    at_most: float | None = Field(default=None, description="For a number: it must not be more.")
    negate: bool = Field(default=False, description="Instead the rest must not hold.")

    @field_validator("values", mode="before")
    @classmethod
    def _in_words(cls, values: Any) -> Any:
        """YAML reads a bare yes or no as true or false."""
        if not isinstance(values, list | tuple):
            return values
        return tuple(("no", "yes")[value] if isinstance(value, bool) else value for value in values)

    @property
    def has_bounds(self) -> bool:
        """Whether it looks at a number."""
        return self.at_least is not None or self.at_most is not None

    @property
    def told(self) -> str:
        """What must be, in words."""
        bounds = ((self.at_least, "at least"), (self.at_most, "at most"))
        said = " and ".join(f"{word} {bound:g}" for bound, word in bounds if bound is not None)
        return f"{self.field} is {'not ' if self.negate else ''}{said or ' or '.join(self.values)}"


class PlanNode(Frozen):
    """One vertex of the plan. Values are checked by swarms.graph, which names every fault at once."""

    key: str = Field(description="Short unique name: lower-case letters, digits and hyphens, e.g. 'parser'.")
    title: str = Field(description="What is done, in a few words.")
    kind: Literal["agent", "noop", "plan"] = Field(
        default="agent",
        description="agent: an agent works; noop: a milestone that only joins others; plan: a part so large that "
        "the coordinator details it into a plan of its own when its turn has come.",
    )
    role: str = Field(default="", description="Who does it: developer, writer or reviewer; empty for noop and plan.")
    instructions: str = Field(
        default="", description="All that the worker needs to know; it sees nothing else of this talk."
    )
    depends_on: tuple[str, ...] = Field(default=(), description="Keys of the nodes that must succeed before.")
    writes: tuple[str, ...] = Field(
        default=(), description="Globs of the paths that it may change, relative to the repository's root."
    )
    checks: tuple[Check, ...] = Field(default=(), description="Commands that must pass when it is done.")
    answers: tuple[AnswerAsked, ...] = Field(
        default=(), description="What its agent must answer at its end, for conditions of nodes that depend on it."
    )
    risk: Literal["low", "high"] = Field(default="low", description="'high' asks a person before the node starts.")
    untrusted: bool = Field(default=False, description="It reads what strangers wrote: issues, mails, web pages.")
    secrets: bool = Field(default=False, description="It works with credentials or private data.")
    effects: bool = Field(
        default=False,
        description="It sends or changes something outside the repository. Where all three meet, a person is asked.",
    )
    fan_in: Literal["all_success", "all_done", "any_success"] = Field(
        default="all_success", description="Which ends of its dependencies let it start."
    )
    on_failure: Literal["fail_swarm", "skip_descendants", "continue", "rollback"] = Field(
        default="fail_swarm", description="What its failure means for the rest."
    )
    when: tuple[EdgeCondition, ...] = Field(default=(), description="Conditions on the output of dependencies.")
    compensate: str = Field(
        default="", description="How an agent undoes its effects outside git, should the swarm be rolled back."
    )
    minutes: int | None = Field(default=None, description="The longest an attempt may take; empty: the project's.")
    priority: int = Field(default=0, description="Higher goes first; 0 is usual.")
    budget_usd: float | None = Field(default=None, description="The most its model calls may cost, in dollars.")


class PlanProposal(Frozen):
    """A whole plan."""

    summary: str = Field(description="How the goal is reached, in two or three sentences.")
    nodes: tuple[PlanNode, ...] = Field(description="The nodes, in any order.")
    acceptance: tuple[Check, ...] = Field(
        default=(), description="Commands that must pass on the whole result before it lands."
    )
