"""What a coordinator proposes: the nodes of a plan."""

from typing import Literal

from pydantic import Field

from agents.contracts.assignment import Check, Frozen

WorkerRole = Literal["developer", "writer", "reviewer"]


class EdgeCondition(Frozen):
    """A dependency that counts only when the parent's output says so."""

    parent: str = Field(description="Key of a node in depends_on.")
    field: str = Field(description="Name in the parent's output; a review has 'verdict', all have 'summary'.")
    values: tuple[str, ...] = Field(description="The output must be one of these.")
    negate: bool = Field(default=False, description="Instead it must be none of these.")


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
