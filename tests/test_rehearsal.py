"""The rehearsal's script, played by hand on real clones: its promises about trouble and about a good end."""

import subprocess
import sys
from collections.abc import Callable
from fnmatch import fnmatch
from inspect import signature
from pathlib import Path

import pytest
from pydantic import BaseModel

from agents.contracts import Finding, PlanProposal
from agents.contracts.answers import read
from agents.rehearsal.completions import seconds
from agents.rehearsal.dialects import spoken
from agents.rehearsal.scenes import Scene, load
from agents.rehearsal.talk import Refused, Request, Turn, turn
from agents.runtimes.acp.wording import answer_in
from agents.runtimes.answers import Review, Summary
from agents.runtimes.tools import READING, WRITING, run_command
from swarms.graph import faults, warnings
from swarms.sample import ACCEPTANCE, CHECKS, build
from tests.rehearsal_stage import PLAN_BRIEFING, SCENES, TOOLS, Actor, body, briefing, git, passes


def proposals() -> list[PlanProposal]:
    """What the coordinator proposes to the briefing of the goal, round by round."""
    steps = next(scene for scene in SCENES if scene.name == "plan").steps
    return [
        PlanProposal.model_validate(call.args) for step in steps for call in step.call if call.tool == "final_result"
    ]


TOOLS_OF: dict[str, tuple[tuple[Callable[..., object], ...], type[BaseModel]]] = {
    "plan": (READING, PlanProposal),
    "review": ((*READING, run_command), Review),
    "work": ((*READING, *WRITING, run_command), Summary),
}
PLAN = proposals()[-1]
CHECK = {node.key: " && ".join(check.command for check in node.checks) for node in PLAN.nodes}


class Stage:
    """The control plane's part, by hand: clones, commits, merges into one integration branch."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.repository = build(root / "textkit.git")
        self.integration = root / "integration"
        git(root, "clone", "-q", str(self.repository.path), str(self.integration))

    def attempt(self, key: str, reason: str = "", start: str = "main") -> str:
        """Play a node in a clone of its own; returns its commit, which the integration clone then has."""
        folder = self.root / f"{key}-{reason or 'first'}"
        git(self.root, "clone", "-q", str(self.integration), str(folder))
        git(folder, "checkout", "-q", start)
        self.actor = Actor(folder)
        self.final = self.actor.play(briefing(key, reason))
        git(folder, "add", "-A")
        git(folder, "commit", "-q", "-m", key)
        changed = git(folder, "diff", "--name-only", "HEAD~").stdout.split()
        writes = next(node.writes for node in PLAN.nodes if node.key == key)
        assert [path for path in changed if not any(fnmatch(path, glob) for glob in writes)] == []
        git(self.integration, "fetch", "-q", str(folder), "HEAD")
        return git(folder, "rev-parse", "HEAD").stdout.strip()

    def head(self) -> str:
        return git(self.integration, "rev-parse", "HEAD").stdout.strip()

    def merge(self, commit: str) -> list[str]:
        """Merge; returns the paths in conflict and leaves the branch as it was when there are any."""
        done = git(self.integration, "merge", "-q", "--no-edit", "--no-ff", commit, check=False)
        conflicts = git(self.integration, "diff", "--name-only", "--diff-filter=U").stdout.split()
        if conflicts:
            git(self.integration, "merge", "--abort")
        else:
            assert done.returncode == 0, done.stderr
        return conflicts


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.mark.parametrize(
    ("order", "syllables_first"), [(("words", "sentences"), True), (("sentences", "words"), False)]
)
def test_the_goal_is_reached_in_either_order_of_merging(
    stage: Stage, order: tuple[str, str], syllables_first: bool
) -> None:
    base = stage.repository.commit
    assert not passes(ACCEPTANCE[0].command, stage.integration)
    first, second = (stage.attempt(key, start=base) for key in order)

    stage.attempt("syllables", start=base)
    assert not passes(CHECK["syllables"], stage.actor.folder), "the first try should fail its check"
    assert set(stage.actor.commands.values()) == {0}, "its own tests pass: it believes that it is done"
    fixed = stage.attempt("syllables", "check_failed", start=base)
    assert passes(CHECK["syllables"], stage.actor.folder)

    merges = [fixed, first] if syllables_first else [first, fixed]
    assert [stage.merge(commit) for commit in merges] == [[], []]
    assert stage.merge(second) == ["textkit/__init__.py"], "the second to merge should conflict"
    again = stage.attempt(order[1], "merge_conflict", start=stage.head())
    assert passes(CHECK[order[1]], stage.actor.folder)
    assert stage.merge(again) == []
    assert passes(f"{CHECK['words']} && {CHECK['sentences']}", stage.integration)

    for key in ("report", "guide"):
        commit = stage.attempt(key, start=stage.head())
        assert set(stage.actor.commands.values()) == {0}
        assert passes(CHECK[key], stage.actor.folder)
        assert stage.merge(commit) == []
    for check in (*ACCEPTANCE, *CHECKS, *PLAN.acceptance):
        assert passes(check.command, stage.integration), check.name
    assert_review_is_true(stage.integration)


def assert_review_is_true(tree: Path) -> None:
    actor = Actor(tree)
    final = actor.play(briefing("review", role="reviewer"))
    assert final["verdict"] == "approve"
    assert list(actor.commands.values()) == [0]
    cited = {}
    for given in final["findings"]:
        finding = Finding.model_validate(given)
        cited[finding.path] = (tree / finding.path).read_text().splitlines()[finding.line - 1]
    assert cited["textkit/syllables.py"].startswith("    return bool(re.search(")
    assert "if found else 0.0" in cited["textkit/report.py"]
    assert cited["textkit/__init__.py"].endswith(("words as words_in", "sentences as sentences_in"))


def test_a_piece_that_starts_after_the_other_has_merged_meets_no_conflict(stage: Stage) -> None:
    assert stage.merge(stage.attempt("words")) == []
    assert stage.merge(stage.attempt("sentences", start=stage.head())) == []
    assert passes(f"{CHECK['words']} && {CHECK['sentences']}", stage.integration)


def test_a_retry_after_a_failed_check_also_fits_the_tree_of_the_failed_try(stage: Stage) -> None:
    failed = stage.attempt("syllables")
    stage.attempt("syllables", "check_failed", start=failed)
    assert passes(CHECK["syllables"], stage.actor.folder)


def scene_of(told: str) -> str:
    return turn(Request.model_validate(body([{"role": "user", "content": told}])), SCENES).scene


@pytest.mark.parametrize("reason", ["lost", "timed_out", "stalled", "changes_requested", "agent_error"])
@pytest.mark.parametrize("key", ["words", "sentences", "syllables", "report", "guide", "review"])
def test_after_any_other_reason_a_node_is_played_as_at_first(key: str, reason: str) -> None:
    assert scene_of(briefing(key, reason)) == scene_of(briefing(key)) == key


@pytest.mark.parametrize(("key", "other"), [("words", "sentences"), ("sentences", "words")])
def test_evidence_that_quotes_another_briefing_does_not_change_the_scene(key: str, other: str) -> None:
    quoted = briefing(other, "check_failed")
    assert scene_of(briefing(key, "merge_conflict") + quoted) == f"{key}-conflict"
    assert scene_of(briefing(key) + quoted) == key


def test_a_remark_on_the_last_plan_is_answered_with_the_same_right_plan() -> None:
    told = f"{PLAN_BRIEFING}\n\n## What a person says about the last plan\nToo many nodes."
    (step,) = next(scene for scene in SCENES if scene.name == scene_of(told)).steps
    assert "rehearsal" in step.say
    assert PlanProposal.model_validate(step.call[0].args) == PLAN


def test_the_first_proposal_has_one_fault_and_the_second_none() -> None:
    first, second = proposals()
    (fault,) = faults(first, max_nodes=12)
    assert "guide" in fault
    assert "'reports'" in fault
    assert faults(second, max_nodes=12) == []


def test_what_the_plan_asks_is_answered_by_those_whom_it_asks() -> None:
    asked = {node.key: node.answers for node in PLAN.nodes if node.answers}
    assert asked
    for key, answers in asked.items():
        scenes = [scene for scene in SCENES if scene.name.split("-")[0] == key]
        given = [call.args for scene in scenes for call in scene.steps[-1].call if call.tool == "final_result"]
        assert len(given) == len(scenes) > 0
        assert [read(answers, args.get("answers", {}))[1] for args in given] == [[]] * len(given)


def test_the_plan_warns_of_the_overlap_and_asks_before_the_report() -> None:
    (warning,) = warnings(PLAN)
    assert "'words' and 'sentences'" in warning
    assert "textkit/__init__.py" in warning
    assert [node.key for node in PLAN.nodes if node.risk == "high"] == ["report"]
    assert {node.key: set(node.depends_on) for node in PLAN.nodes}["review"] == {
        "words",
        "sentences",
        "syllables",
        "report",
        "guide",
    }


def test_every_check_of_a_node_is_red_on_the_base(stage: Stage) -> None:
    assert {key for key, command in CHECK.items() if command and passes(command, stage.integration)} == set()


def test_the_coordinator_reads_only_files_that_are_there(stage: Stage) -> None:
    actor = Actor(stage.integration)
    assert actor.play(PLAN_BRIEFING)["nodes"][4]["depends_on"] == ["reports"]
    assert git(stage.integration, "status", "--porcelain").stdout == ""


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_calls_of_one_step_do_not_depend_on_each_other(scene: Scene) -> None:
    for step in scene.steps:
        changed = [call.args["path"] for call in step.call if call.tool in ("write_file", "edit_file")]
        assert len(changed) == len(set(changed))
        assert not (changed and any(call.tool == "run_command" for call in step.call))
        assert {call.tool for call in step.call} <= set(TOOLS)
    assert [call.tool for call in scene.steps[-1].call] == ["final_result"]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_calls_fit_the_tools_that_the_builtin_runtime_gives_to_that_role(scene: Scene) -> None:
    tools, answer = TOOLS_OF.get(scene.name.split("-")[0], TOOLS_OF["work"])
    functions = {tool.__name__: signature(tool) for tool in tools}
    for step in scene.steps:
        for call in step.call:
            if call.tool == "final_result":
                answer.model_validate(call.args)
            else:
                functions[call.tool].bind(None, **call.args)


OPENCODE_ARGUMENTS = {
    "glob": ({"pattern"}, {"path"}),
    "grep": ({"pattern"}, {"path"}),
    "read": ({"filePath"}, set[str]()),
    "write": ({"filePath", "content"}, set[str]()),
    "edit": ({"filePath", "oldString", "newString"}, set[str]()),
    "bash": ({"command", "description"}, set[str]()),
}
"""Of OpenCode's tools: what they must be given, and what they may."""


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_who_offers_the_tools_of_opencode_is_answered_with_these(scene: Scene) -> None:
    for step in scene.steps:
        told = spoken(step, {*OPENCODE_ARGUMENTS, "StructuredOutput"})
        assert len(told.call) == len(step.call)
        for call, ours in zip(told.call, step.call, strict=True):
            if ours.tool == "final_result":
                assert (call.tool, call.args) == ("StructuredOutput", ours.args)
                continue
            needed, allowed = OPENCODE_ARGUMENTS[call.tool]
            assert needed <= set(call.args) <= needed | allowed
        assert spoken(step, TOOLS) == step, "who offers ours is answered with ours"


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_who_has_no_tool_for_the_end_is_told_the_answer(scene: Scene) -> None:
    for step in scene.steps:
        told = spoken(step, OPENCODE_ARGUMENTS)
        answer = next((call.args for call in step.call if call.tool == "final_result"), None)
        assert answer_in(told.say) == answer
        assert {call.tool for call in told.call} <= set(OPENCODE_ARGUMENTS)


def test_the_whole_demo_waits_at_most_ten_seconds_for_the_model() -> None:
    pauses = [seconds(Turn(scene.name, number, step)) for scene in SCENES for number, step in enumerate(scene.steps)]
    assert 1 < sum(pauses) <= 10


def test_an_unknown_goal_is_refused_with_the_remedy() -> None:
    request = body([{"role": "user", "content": "# Plan a goal\n\n## Goal\nA web shop\n"}])
    with pytest.raises(Refused, match="WAGGLE_MODEL_BASE_URL") as refused:
        turn(Request.model_validate(request), SCENES)
    assert (refused.value.status, refused.value.code) == (400, "rehearsal_has_no_scene")


def test_a_client_without_the_builtin_tools_is_refused_by_name_of_the_tools() -> None:
    request = body([{"role": "user", "content": briefing("words")}])
    request["tools"] = [{"type": "function", "function": {"name": "bash"}}]
    with pytest.raises(Refused, match="does not offer: list_files, read_file"):
        turn(Request.model_validate(request), SCENES)


def test_a_script_that_is_not_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("scenes:\n  - name: x\n    when: ['(']\n    steps: [{say: hi}]\n")
    with pytest.raises(ValueError, match=r"broken\.yaml is not a script"):
        load(tmp_path)


def test_the_rehearsal_never_loads_django() -> None:
    code = "import sys, agents.rehearsal.app; sys.exit('django' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
