"""Plans made to hang or break the engine: by a person as YAML, or by an agent whose model went astray."""

from typing import Any

import pytest
from django.utils import timezone

from agents.contracts import PlanNode, PlanProposal
from swarms import graph, plan_yaml
from swarms.forms import PlanForm
from swarms.models import Project
from swarms.overlap import outside, overlap
from swarms.why import Facts, Surroundings, unmet

NODE = "- {key: a, title: A, role: developer, instructions: do, writes: [a]}"


def faults_of(text: str) -> str:
    with pytest.raises(plan_yaml.PlanFaults) as caught:
        plan_yaml.read_yaml(text)
    return str(caught.value)


def test_a_short_text_cannot_stand_for_a_huge_plan() -> None:
    levels = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    levels += [f"{c}: &{c} [{', '.join([f'*{b}'] * 9)}]" for b, c in zip("abcdefgh", "bcdefghi", strict=True)]
    assert "references" in faults_of("\n".join([*levels, "nodes: *i"]))
    assert "references" in faults_of("a: &a [*a]\nnodes: *a")
    assert "references" in faults_of(f"nodes:\n{NODE}\nextra: {{<<: *x}}")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{a: " * 50_000, "- " * 90_000, "? " * 90_000, "nodes: " + "[[" * 9_000]
)
def test_a_deep_plan_is_refused_in_words(text: str) -> None:
    assert faults_of(text)


def test_the_largest_plan_comes_by_every_way_and_a_longer_text_by_none() -> None:
    words = "Write the module and its tests. " * 20
    lines = [f"- {{key: n{n}, title: N, role: developer, instructions: {words}, writes: [n{n}]}}" for n in range(5000)]
    text = "\n".join(["nodes:", *lines])
    assert len(text) > 3_000_000
    form = PlanForm({"yaml": text})
    assert form.is_valid(), form.errors
    assert len(plan_yaml.read_yaml(form.cleaned_data["yaml"]).nodes) == 5000
    longer = text + "\n#" + "x" * plan_yaml.LONGEST
    assert not PlanForm({"yaml": longer}).is_valid()
    assert f"at most {plan_yaml.LONGEST}" in faults_of(longer)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\x00",
        "!!python/object/apply:os.system [id]",
        "nodes: !!python/name:os.system",
        "nodes: 1",
        "- a",
        "nodes: [1, [2], {a: b}]",
        f'nodes:\n{NODE}\nsummary: "\\0"',
        "nodes: {}",
        "2026-01-01: x",
        "? [a, b]\n: x",
        "? {a: b}\n: x",
        "nodes: .inf",
        "%YAML 9.9\n---\nnodes: []",
        "nodes: []\n---\nnodes: []",
        "nodes: [" + "1" * 5000 + "]",
        "nodes: 2026-13-45",
    ],
)
def test_whatever_is_no_plan_is_refused_in_words(text: str) -> None:
    try:
        proposal = plan_yaml.read_yaml(text)
    except plan_yaml.PlanFaults:
        return
    assert graph.faults(proposal, max_nodes=40)


def test_a_pattern_cannot_keep_the_engine_busy() -> None:
    star = "*a" * 60 + "b"
    assert outside(["a" * 200], [star]) == ["a" * 200]
    assert outside(["/".join("a" * 60) + "/c"], ["/".join(["**", "a"] * 30) + "/b"])
    assert not overlap(star, "a" * 200)
    assert overlap("*a" * 60, "a*" * 60)


def test_lengths_are_bounded_so_that_every_row_can_be_stored() -> None:
    def plan(**fields: Any) -> PlanProposal:
        node = {"key": "a", "title": "A", "role": "developer", "instructions": "do", "writes": ("a",)}
        return PlanProposal(summary="", nodes=(PlanNode.model_validate(node | fields),))

    assert graph.faults(plan(), max_nodes=40) == []
    for field, value in {
        "title": "t" * 121,
        "instructions": "i" * 20_001,
        "key": "k" * 41,
        "writes": ("w" * 201,),
    }.items():
        assert graph.faults(plan(**{field: value}), max_nodes=40), field
    assert graph.faults(plan(writes=("w",) * 51), max_nodes=40)
    many = PlanProposal(summary="", nodes=plan().nodes * 20_000)
    assert graph.faults(many, max_nodes=40) == ["The plan has 20000 nodes; at most 40 are allowed."]


def test_a_node_that_waits_for_very_many_names_a_few() -> None:
    now = timezone.now()
    facts = Facts("blocked", not_before=now, open_parents=[f"{n:040}" for n in range(1000)])
    [reason] = unmet(facts, Surroundings(now=now))
    assert len(reason.text) < 300
    assert reason.text.endswith("and 995 more")


def test_the_default_of_nodes_lies_below_what_is_looked_at() -> None:
    assert Project._meta.get_field("max_nodes").default <= graph.LOOKED_AT
