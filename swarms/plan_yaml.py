"""A plan as YAML: written for a person, and read back with every fault in words."""

import re
from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import ValidationError

from agents.contracts import PlanProposal

DEEPEST = 20
"""Levels of a plan's YAML; a plan needs six."""
MOST_FAULTS = 100
LONGEST = 4_000_000
"""Characters of a plan, whichever way it comes: 800 for each node of the largest one."""
WIDTH, LONG = 110, 80
"""Characters of a line, and of a text from which on it is a block of its own."""
_ODD = re.compile(r"[^\S \n]|[\x00-\x09\x0b-\x1f\x7f-\x9f\ufeff]")
"""What YAML takes for a break of lines, or shows to nobody, unless it is escaped."""
_UNEVEN = re.compile(r"^\s| $| \n")
"""Spaces that a block would lose."""
EXAMPLE = """\
summary: The list command speaks JSON.
nodes:
  - key: option
    title: The option
    instructions: Add --json to the list command, with tests.
    writes: ["tool/**", "tests/**"]
  - key: guide
    title: Its documentation
    role: writer
    instructions: Explain --json in README.md, with an example.
    depends_on: [option]
    writes: [README.md]
"""
"""What a form shows where nobody has written a plan yet."""
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The one of libyaml, where PyYAML has it, takes a fifth of the time."""


class PlanFaults(ValueError):
    """A plan that cannot be used, with everything that is wrong with it."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def _look(text: str) -> None:
    """Raises YAMLError where there are references, by which a short text can stand for a huge one, or deep nests."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"a plan has no references (*name): write it out,{event.start_mark}")
        if isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
            continue
        is_collection = isinstance(event, yaml.CollectionStartEvent)
        if depth + (is_collection or isinstance(event, yaml.ScalarEvent)) > DEEPEST:
            raise yaml.YAMLError(f"a plan is at most {DEEPEST} levels deep,{event.start_mark}")
        depth += is_collection


def read_yaml(text: str) -> PlanProposal:
    """A plan written by a person. Raises PlanFaults that name each field."""
    if len(text) > LONGEST:
        raise PlanFaults([f"The plan has {len(text)} characters; at most {LONGEST} are allowed."])
    try:
        _look(text)
        loaded = yaml.load(text, Loader=_LOADER)
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
    """A plan's document as YAML, to be edited by a person: long texts as blocks, without quotes."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH)


class _Dumper(yaml.SafeDumper):
    """Chooses the form in which a text is read most easily and comes back as it was."""


def _style(text: str) -> str | None:
    if _ODD.search(text):
        return '"'
    if _UNEVEN.search(text):
        return None
    if "\n" in text.rstrip("\n"):
        return "|"
    return ">" if len(text) > LONG and "  " not in text and "\n" not in text else None


_Dumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style=_style(text))
)


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
