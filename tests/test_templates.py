"""Templates, styles and vendored files: what a strict policy and every reader need."""

import re
from itertools import product
from pathlib import Path

import pytest
from django.conf import settings
from django.template.loader import get_template

from agents.states import EXECUTION_MOVES, SERVER_MOVES
from config.management.commands.vendor import faults
from swarms.looks import LOOKS
from swarms.states import MACHINES

ROOT = Path(settings.BASE_DIR)
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
OURS = [path for path in TEMPLATES if "admin" not in path.parts]
CSS = (ROOT / "static" / "css" / "tokens.css").read_text()
SPRITE = (ROOT / "templates" / "_sprite.html").read_text()

FORBIDDEN = {
    r"\bstyle=": "a strict policy blocks style attributes: use a class or a presentation attribute",
    r"<style": "styles belong into static/css",
    r"<script(?![^>]*\bsrc=)": "scripts belong into static/js",
    r"\bon[a-z]+=": "handlers belong into static/js",
    r"hx-on": "hx-on needs eval",
    r"\bjs:|javascript:": "js: needs eval",
    r'hx-trigger="[^"]*\[': "trigger filters need eval",
    r"\|\s*safe\b|autoescape off": "markup is made safe where it is made, not in templates",
    r"https?://(?!www\.w3\.org)[a-z]": "nothing is loaded from elsewhere",
}


@pytest.mark.parametrize(("pattern", "why"), FORBIDDEN.items())
def test_templates_hold_nothing_that_the_policy_blocks(pattern: str, why: str) -> None:
    found = [path.name for path in TEMPLATES if re.search(pattern, path.read_text())]
    assert not found, why


def test_every_template_compiles() -> None:
    for path in TEMPLATES:
        get_template(str(path.relative_to(ROOT / "templates")))


def test_every_post_form_carries_the_token_against_forgery() -> None:
    for path in OURS:
        for form in re.findall(r"<form\b[^>]*method=\"post\".*?</form>", path.read_text(), re.S):
            assert "csrf_token" in form, path.name


def test_every_button_says_its_type() -> None:
    for path in OURS:
        for button in re.findall(r"<button\b[^>]*>", path.read_text()):
            assert "type=" in button, f"{path.name}: {button}"


def test_every_glyph_is_in_the_sprite() -> None:
    used = {look.icon for looks in LOOKS.values() for look in looks.values()}
    for path in TEMPLATES:
        used |= set(re.findall(r'\{% icon "([a-z0-9-]+)"', path.read_text()))
        used |= set(re.findall(r'\{% nav "[^"]+" "([a-z0-9-]+)"', path.read_text()))
    known = set(re.findall(r'id="i-([a-z0-9-]+)"', SPRITE))
    assert used <= known


def test_every_symbol_of_the_sprite_is_used() -> None:
    code = [path for app in ("swarms", "agents", "sessions", "tenants") for path in (ROOT / app).rglob("*.py")]
    said = "".join(path.read_text() for path in [*code, *TEMPLATES] if path.name != "_sprite.html")
    known = set(re.findall(r'id="i-([a-z0-9-]+)"', SPRITE))
    assert not {name for name in known if f'"{name}"' not in said and f"#i-{name}" not in said}


def test_vendored_files_are_those_of_the_lock_file() -> None:
    assert faults() == []


def test_every_state_has_a_look_of_its_own_word() -> None:
    machines = MACHINES | {"execution": EXECUTION_MOVES, "server": SERVER_MOVES}
    for noun, moves in machines.items():
        assert set(moves) <= set(LOOKS[noun]), noun
        words = [LOOKS[noun][state].word for state in moves]
        assert len(words) == len(set(words)), noun


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


TOKENS = {
    name: {"light": light, "dark": dark}
    for name, light, dark in re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\);", CSS)
}
TONES = sorted({look.tone for looks in LOOKS.values() for look in looks.values()})
PAIRS = (
    [(tone, f"{tone}-tint") for tone in TONES]
    + list(product(TONES, ("canvas", "surface")))
    + list(product(("text", "muted", "accent"), ("canvas", "surface", "raised")))
    + [("on-accent", "accent"), ("text", "approval-tint"), ("muted", "approval-tint"), ("text", "failed-tint")]
    + [("muted", "queued-tint"), ("text", "succeeded-tint"), ("accent", "accent-tint"), ("text", "accent-tint")]
)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), PAIRS)
def test_text_can_be_read_on_its_ground(text: str, ground: str, theme: str) -> None:
    assert _contrast(TOKENS[text][theme], TOKENS[ground][theme]) >= 4.5
