"""A plan as YAML: written for a person, and read back with every fault in words."""

from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import ValidationError

from agents.contracts import PlanProposal

DEEPEST = 20
"""Levels of a plan's YAML; a plan needs six."""
MOST_FAULTS = 100


class PlanFaults(ValueError):
    """A plan that cannot be used, with everything that is wrong with it."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class _Plain(yaml.SafeLoader):
    """YAML without references, by which a short text can stand for a huge one, and without deep nests."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """One value and what is in it. Raises YAMLError."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "a plan has no references (*name): write it out", mark)
        self.depth += 1
        if self.depth > DEEPEST:
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, f"a plan is at most {DEEPEST} levels deep", mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def read_yaml(text: str) -> PlanProposal:
    """A plan written by a person. Raises PlanFaults that name each field."""
    try:
        loaded = yaml.load(text, Loader=_Plain)
    except (yaml.YAMLError, ValueError) as error:  # a ValueError of a number or date that is none
        raise PlanFaults([f"This is not YAML: {error}"]) from error
    if not isinstance(loaded, dict):
        raise PlanFaults(["A plan is a mapping with the keys summary, nodes and acceptance."])
    loaded.setdefault("summary", "")
    try:
        proposal = PlanProposal.model_validate(loaded)
    except ValidationError as error:
        found = error.errors()[:MOST_FAULTS]
        raise PlanFaults([f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in found]) from error
    if "\\u0000" in proposal.model_dump_json():
        raise PlanFaults(["A plan has no NUL characters (\\0). Take them out."])
    return proposal


def write_yaml(document: Any) -> str:
    """A plan's document as YAML, to be edited by a person."""
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)


def annotated(proposal: PlanProposal, notes: Mapping[str, str]) -> str:
    """A plan as YAML with a comment above each node that `notes` names by its key; defaults are left out."""
    rest = proposal.model_dump(mode="json", exclude={"nodes"})
    parts = [write_yaml({"summary": rest["summary"]}), "nodes:\n"]
    for node in proposal.nodes:
        fields = {"key": node.key} | node.model_dump(mode="json", exclude_defaults=True)
        if note := notes.get(node.key):
            parts.append(f"# {note}\n")
        parts.append(write_yaml([fields]))
    return "".join([*parts, write_yaml({"acceptance": rest["acceptance"]})])
