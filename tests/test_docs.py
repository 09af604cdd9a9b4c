"""Documents that code could leave behind: the table of variables, the diagrams, links, the changelog."""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from agents.states import AGENT_MOVES, EXECUTION_MOVES, SERVER_MOVES
from sessions.states import WEBHOOK_MOVES
from swarms.states import MACHINES
from tenants.states import TEAM_MOVES, Moves

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
APPS = ("config", "tenants", "sessions", "agents", "swarms")
VARIABLE = re.compile(r"^(?:WAGGLE_[A-Z]+(?:_[A-Z]+)*|DATABASE_URL|REDIS_URL)$")
# Said from one of our processes to another; nobody sets these.
BETWEEN_PROCESSES = {"WAGGLE_MAY_PUSH", "WAGGLE_PLATFORM"}


def sources() -> Iterator[Path]:
    """Our Python files, without the sample project and without tests."""
    for app in APPS:
        for path in sorted((ROOT / app).rglob("*.py")):
            if "sample" not in path.relative_to(ROOT).parts[:2]:
                yield path


def names_read(tree: ast.AST) -> Iterator[str]:
    """Names of variables that a module reads: `env…("X")`, `….get("X")`, `environ["X"]`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            name = node.args[0].value
            if isinstance(name, str) and VARIABLE.match(name) and (called.startswith("env") or called == "get"):
                yield name
                if called == "env_secret":
                    yield f"{name}_FILE"
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            name = node.slice.value
            if isinstance(node.ctx, ast.Load) and isinstance(name, str) and VARIABLE.match(name):
                yield name


def test_the_table_of_settings_names_every_variable_that_is_read_and_no_other() -> None:
    read = {name for path in sources() for name in names_read(ast.parse(path.read_text()))} - BETWEEN_PROCESSES
    table = set(re.findall(r"^\| `([A-Z_]+)`", (DOCS / "settings.md").read_text(), re.MULTILINE))
    assert read - table == set(), "read in the code, missing in docs/settings.md"
    assert table - read == set(), "in docs/settings.md, read nowhere"


def test_the_example_environment_names_only_variables_of_the_table() -> None:
    table = set(re.findall(r"^\| `([A-Z_]+)`", (DOCS / "settings.md").read_text(), re.MULTILINE))
    example = set(re.findall(r"^#?\s?([A-Z][A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert example
    assert example - table == set()


def diagram(moves: Moves) -> str:
    """A table of moves as a Mermaid state diagram: states as declared, final ones last and by name."""
    live = [state for state, targets in moves.items() if targets]
    final = sorted(state for state, targets in moves.items() if not targets)
    order = [*live, *final]
    lines = ["stateDiagram-v2", f"    [*] --> {live[0]}"]
    lines += [f"    {state} --> {target}" for state in live for target in sorted(moves[state], key=order.index)]
    lines += [f"    {state} --> [*]" for state in final]
    return "\n".join(lines)


ALL_MACHINES: Mapping[str, Moves] = {
    **MACHINES,
    "execution": EXECUTION_MOVES,
    "agent": AGENT_MOVES,
    "server": SERVER_MOVES,
    "webhook": WEBHOOK_MOVES,
    "team": TEAM_MOVES,
}


@pytest.mark.parametrize("noun", sorted(ALL_MACHINES))
def test_the_diagram_of_each_machine_is_the_table_of_its_moves(noun: str) -> None:
    drawn = re.findall(r"^## (\w+)\n(?:.*?)```mermaid\n(.*?)\n```", (DOCS / "states.md").read_text(), re.M | re.S)
    assert dict(drawn).get(noun) == diagram(ALL_MACHINES[noun]), "run: python -m tests.test_docs"


def test_no_diagram_is_left_of_a_machine_that_is_gone() -> None:
    drawn = re.findall(r"^## (\w+)$", (DOCS / "states.md").read_text(), re.MULTILINE)
    assert set(drawn) == set(ALL_MACHINES)


def documents() -> list[Path]:
    return [path for path in [*ROOT.glob("*.md"), *DOCS.glob("*.md")] if path.is_file()]


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_every_link_to_a_file_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", path.read_text()):
        assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_every_command_of_make_and_manage_in_a_document_exists(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = {each.stem for app in APPS for each in (ROOT / app).glob("management/commands/*.py")}
    commands |= {"migrate_schemas", "check", "runserver", "makemigrations"}
    text = path.read_text()
    assert set(re.findall(r"\bmake ([a-z-]+)\b(?=[`\s]*(?:$|[`#;&|]))", text, re.MULTILINE)) - targets == set()
    assert set(re.findall(r"manage\.py ([a-z_]+)", text)) - commands == set()


def write_states() -> None:
    """Draw docs/states.md anew; the words between title and diagram are kept."""
    path = DOCS / "states.md"
    old = path.read_text() if path.exists() else ""
    words = dict(re.findall(r"^## (\w+)\n\n(.*?)```mermaid", old, re.M | re.S))
    head = old.split("\n## ", 1)[0].rstrip() if old else "# States"
    parts = [
        f"## {noun}\n\n{words.get(noun, '')}```mermaid\n{diagram(moves)}\n```" for noun, moves in ALL_MACHINES.items()
    ]
    path.write_text("\n\n".join([head, *parts]) + "\n")


if __name__ == "__main__":
    write_states()
