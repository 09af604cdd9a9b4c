"""The house rules that a program can check."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.template import TemplateDoesNotExist
from django.template.loader import get_template

from tests.test_docs import APPS, ROOT, sources

FORBIDDEN_NAMES = {"Manager", "Service", "Handler", "Util", "Utils", "Helper", "Base", "Impl"}
FILE_LINES, FUNCTION_LINES = 300, 45
FORBIDDEN_FILES = {"services.py", "utils.py", "helpers.py", "misc.py", "common.py"}
PURE = (
    "swarms.graph",
    "swarms.vertex",
    "swarms.asked",
    "swarms.amend",
    "swarms.states",
    "swarms.actions",
    "swarms.decide",
    "swarms.overlap",
    "swarms.policy",
    "swarms.undo",
    "swarms.reasons",
    "swarms.orphans",
    "swarms.verify.fold",
    "swarms.replay.scene",
    "swarms.replay.fold",
    "swarms.verify.invariant",
    "swarms.release",
    "swarms.procedures",
    "swarms.why",
    "swarms.layout",
    "agents.states",
    "agents.contracts",
    "agents.outreach",
    "agents.placement",
    "agents.server_choice",
    "agents.opencode.found",
    "agents.opencode.shapes",
    "agents.opencode.mapping",
    "agents.opencode.report",
    "agents.opencode.wording",
    "sessions.kinds",
    "sessions.storable",
    "tenants.roles",
    "tenants.procedures",
    "tenants.states",
)


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in sources():
        if "migrations" not in path.parts:
            yield path, ast.parse(path.read_text(), filename=str(path))


def test_the_import_contract_is_kept() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", PURE)
def test_a_pure_module_imports_only_the_standard_library_pydantic_and_pure_modules(name: str) -> None:
    found = [path for path in sources() if (module := module_of(path)) == name or module.startswith(f"{name}.")]
    assert found, f"{name} is gone: take it out of the list, or put it back"
    for path in found:
        for node in ast.walk(ast.parse(path.read_text())):
            for imported in imports_of(node):
                allowed = imported.split(".")[0] in sys.stdlib_module_names | {"pydantic", "__future__"}
                assert allowed or imported.startswith(PURE), f"{path}:{getattr(node, 'lineno', 0)} {imported}"


def imports_of(node: ast.AST) -> list[str]:
    """Modules that a statement imports, without relative ones (there are none: see below)."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        # `from swarms import graph` means swarms.graph.
        return [f"{node.module}.{alias.name}" for alias in node.names] if node.module in APPS else [node.module]
    return []


def test_only_the_module_of_scopes_switches_schema() -> None:
    switching = re.compile(r"\b(set_schema|set_tenant|set_schema_to_public|schema_context|tenant_context)\b")
    guilty = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sources()
        if path != ROOT / "tenants" / "context.py"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if switching.search(line)
    ]
    # A lock's own connection has no scope; it is set to public once and closed.
    assert [each for each in guilty if not each.startswith("tenants/provisioning.py")] == []


def test_nobody_enters_a_team_with_django_tenants_own_context() -> None:
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.With):
                for item in node.items:
                    entered = ast.unparse(item.context_expr)
                    assert not re.fullmatch(r"(\w+\.)*(team|tenant)", entered), f"{path}:{node.lineno} with {entered}"


def test_states_change_by_moves_only() -> None:
    """No `row.state = …` and no `update(state=…)` outside the verbs made for it."""
    verbs = {"sessions/transitions.py"}
    # Teams live in public and have no events of their own; a part of a message has states, but no table of moves.
    verbs |= {"tenants/provisioning.py", "sessions/transcript.py"}
    for path, tree in trees():
        if str(path.relative_to(ROOT)) in verbs:
            continue
        file = path.relative_to(ROOT)
        saved = {ast.unparse(method.value) for _, method in calls(tree, "save")}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Attribute) and target.attr == "state":
                        assert ast.unparse(target.value) not in saved, f"{file}:{node.lineno} sets state and saves"
        for call, _ in calls(tree, "update", "bulk_update"):
            assert "state" not in {word.arg for word in call.keywords}, f"{file}:{call.lineno} updates state"


def calls(tree: ast.AST, *names: str) -> Iterator[tuple[ast.Call, ast.Attribute]]:
    """Calls of methods with one of these names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in names:
            yield node, node.func


def test_no_name_says_nothing() -> None:
    for path, tree in trees():
        assert path.name not in FORBIDDEN_FILES or path.parent.name == "commands", path
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                words = set(re.findall(r"[A-Z][a-z]+|[A-Z]+(?![a-z])", node.name))
                assert not words & FORBIDDEN_NAMES, f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"


def test_models_do_no_work_when_saved() -> None:
    for path, tree in trees():
        text = path.read_text()
        assert "post_save" not in text, path
        assert "pre_save" not in text, path
        if "models" in path.parts or path.name == "models.py":
            saves = [
                node.lineno for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "save"
            ]
            assert saves == [], path


def test_files_and_functions_stay_short() -> None:
    long = []
    for path, tree in trees():
        if (lines := len(path.read_text().splitlines())) >= FILE_LINES:
            long.append(f"{path.relative_to(ROOT)} has {lines} lines")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines >= FUNCTION_LINES:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name} has {lines} lines")
    assert long == []


def test_nothing_is_left_to_do_or_swallowed() -> None:
    for path, tree in trees():
        assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b|raise NotImplementedError", path.read_text()), path
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler):
                where = f"{path.relative_to(ROOT)}:{node.lineno}"
                assert node.type is not None, f"{where} catches everything"
                broad = ast.unparse(node.type) in ("Exception", "BaseException")
                assert not (broad and all(isinstance(line, ast.Pass) for line in node.body)), f"{where} swallows"


def test_imports_are_absolute() -> None:
    for path, tree in trees():
        for node in ast.walk(tree):
            assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}:{node.lineno}"


def test_no_table_is_both_in_public_and_in_teams() -> None:
    def tables(names: list[str]) -> set[str]:
        found = set()
        for configuration in apps.get_app_configs():
            if configuration.name in names or f"{configuration.__module__}.{type(configuration).__name__}" in names:
                found |= {model._meta.db_table for model in configuration.get_models(include_auto_created=True)}
        return found

    shared, own = tables(settings.SHARED_APPS), tables(settings.TENANT_APPS)
    assert shared
    assert own
    assert shared & own == set()
    assert set(settings.SHARED_APPS) & set(settings.TENANT_APPS) == set()


INLINE = {
    "a script without src": re.compile(r"<script(?![^>]*\bsrc=)[^>]*>", re.IGNORECASE),
    "a style element": re.compile(r"<style\b", re.IGNORECASE),
    "a style attribute": re.compile(r"<[^>]*\sstyle\s*=", re.IGNORECASE),
    "an event attribute": re.compile(r"<[^>]*\son[a-z]+\s*=", re.IGNORECASE),
    "hx-on, which is eval": re.compile(r"\bhx-on\b"),
    "a javascript: address": re.compile(r"javascript:", re.IGNORECASE),
    "something of another host": re.compile(r"(?:src|href|srcset|action)\s*=\s*[\"']?(?:https?:)?//", re.IGNORECASE),
}
UNSAFE = re.compile(r"\|\s*safe\b|\{%\s*autoescape\s+off")


def forbidden_in(template: str) -> list[str]:
    """What in a template our Content-Security-Policy forbids, or would let through unescaped."""
    text = re.sub(r"\{% comment %\}.*?\{% endcomment %\}", "", template, flags=re.DOTALL)
    text = re.sub(r"\{#.*?#\}", "", text)
    found = ["text marked safe"] if UNSAFE.search(text) else []
    html = re.sub(r"\{%.*?%\}|\{\{.*?\}\}", "", text)
    found += ["a tag or comment over several lines, which readers would see"] if re.search(r"\{[#%{]", html) else []
    return found + [what for what, pattern in INLINE.items() if pattern.search(html)]


def templates() -> list[Path]:
    return sorted(path for path in (ROOT / "templates").rglob("*") if path.is_file())


@pytest.mark.parametrize("path", templates(), ids=lambda path: str(path.relative_to(ROOT / "templates")))
def test_a_template_has_nothing_that_the_content_security_policy_forbids(path: Path) -> None:
    assert forbidden_in(path.read_text()) == []


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        '<p class="a" style="color:red">',
        '<button {% if x %}onclick="go()"{% endif %}>',
        '<a hx-on:click="x">',
        "{{ text|safe }}",
        '<img src="//cdn.example/x.png">',
        "<style>p{}</style>",
        "{# one line\n and another #}",
        "{% if one\n and another %}{% endif %}",
    ],
)
def test_the_rules_for_templates_find_what_they_are_for(text: str) -> None:
    assert forbidden_in(text)


def test_the_rules_for_templates_let_honest_pages_pass() -> None:
    assert forbidden_in('<script src="/static/js/live.js" defer></script>') == []
    assert forbidden_in('<a class="x" {% if one == state %}aria-current="page"{% endif %}>') == []


@pytest.mark.parametrize("path", templates(), ids=lambda path: str(path.relative_to(ROOT / "templates")))
def test_every_template_compiles(path: Path) -> None:
    try:
        get_template(str(path.relative_to(ROOT / "templates")))
    except TemplateDoesNotExist as missing:
        pytest.fail(f"{path.name} includes or extends {missing}, which is not there")
