"""A plan as YAML is pleasant to edit, and comes back as it was."""

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from swarms.plan_yaml import EXAMPLE, read_yaml, write_yaml

ODD = st.sampled_from("ab  \n\t\r:#-'\"|>%&*[]{},?!@`\x07\x85\u2028\ufeff🐝")
LOADERS = [yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)]


@pytest.mark.parametrize("loader", LOADERS, ids=["python", "libyaml"])
@settings(max_examples=150)
@given(text=st.text(ODD, max_size=250) | st.text(st.sampled_from("ab c d\n-:#"), max_size=250))
@example(text="\x85")
@example(text="word " * 30)
def test_every_text_comes_back_as_it_was(loader: type[yaml.SafeLoader], text: str) -> None:
    document = {"summary": text, "nodes": [{"key": "a", "instructions": text}]}
    assert yaml.load(write_yaml(document), Loader=loader) == document


def test_a_long_text_is_a_block_without_quotes() -> None:
    text = "Write docs/reading.md: what each figure means, with an example that is true; and 'quote' the command."
    assert write_yaml({"instructions": text}) == f"instructions: >-\n  {text}\n"
    assert write_yaml({"instructions": "one:\n  two\n"}) == "instructions: |\n  one:\n    two\n"


def test_the_example_of_the_forms_is_a_plan() -> None:
    assert [node.key for node in read_yaml(EXAMPLE).nodes] == ["option", "guide"]
