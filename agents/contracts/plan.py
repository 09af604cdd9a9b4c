"""What a coordinator proposes: the nodes of a plan."""

from typing import Literal

from pydantic import Field

from agents.contracts.assignment import Check, Frozen

WorkerRole = Literal["developer", "writer", "reviewer"]


class PlanNode(Frozen):
    """One vertex of the plan. Values are checked by swarms.graph, which names every fault at once."""

    key: str = Field(description="Short unique name: lower-case letters, digits and hyphens, e.g. 'parser'.")
    title: str = Field(description="What is done, in a few words.")
    role: str = Field(description="Who does it: developer, writer or reviewer.")
    instructions: str = Field(description="All that the worker needs to know; it sees nothing else of this talk.")
    depends_on: tuple[str, ...] = Field(default=(), description="Keys of the nodes that must succeed before.")
    writes: tuple[str, ...] = Field(
        default=(), description="Globs of the paths that it may change, relative to the repository's root."
    )
    checks: tuple[Check, ...] = Field(default=(), description="Commands that must pass when it is done.")
    risk: Literal["low", "high"] = Field(default="low", description="'high' asks a person before the node starts.")


class PlanProposal(Frozen):
    """A whole plan."""

    summary: str = Field(description="How the goal is reached, in two or three sentences.")
    nodes: tuple[PlanNode, ...] = Field(description="The nodes, in any order.")
    acceptance: tuple[Check, ...] = Field(
        default=(), description="Commands that must pass on the whole result before it lands."
    )
