"""Words, glyphs and numbers of the dashboard."""

from datetime import datetime
from typing import Any

from django import template
from django.template.context import Context
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from swarms import budgets, purses
from swarms.boxes import box
from swarms.looks import look
from swarms.models import Node, Project, Swarm
from swarms.reasons import Rule, rule_of
from swarms.words import plain as without_code

register = template.Library()


register.simple_tag(box)


@register.simple_tag
def icon(name: str) -> SafeString:
    """A glyph of the sprite, silent for screen readers."""
    return format_html('<svg class="icon" aria-hidden="true"><use href="#i-{}"></use></svg>', name)


@register.simple_tag(takes_context=True)
def nav(
    context: Context, path: str, glyph: str, text: str, count: int | str | None = None, also: str = ""
) -> SafeString:
    """A link of the main navigation, marked when the page lies below it, or below one of `also`."""
    request = context.get("request")
    here = request.path if request is not None else ""
    current = here == path if path == "/" else here.startswith((path, *also.split()))
    badge = format_html(' <span class="badge">{}<span class="sr"> waiting</span></span>', count) if count else ""
    return format_html(
        '<a href="{}"{}>{}<span>{}</span>{}</a>',
        path,
        SafeString(' aria-current="page"') if current else "",
        icon(glyph),
        text,
        badge,
    )


@register.inclusion_tag("_state.html")
def state(noun: str, value: str, title: str = "") -> dict[str, Any]:
    """A state as a pill: glyph, word and colour."""
    return {"look": look(noun, value), "title": title}


@register.filter
def clock(seconds: float | None) -> str:
    """Seconds as 0:08, 4:30 or 1:02:03."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def ago(moment: datetime, now: datetime) -> str:
    """How long ago, in short: just now, 40 s ago, 5 min ago, 3 h ago, 2 d ago."""
    seconds = (now - moment).total_seconds()
    for limit, size, unit in ((60, 1, "s"), (3600, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{int(seconds // size)} {unit} ago" if seconds >= 5 else "just now"
    return f"{int(seconds // 86_400)} d ago"


@register.simple_tag
def when(moment: datetime | None) -> SafeString | str:
    """A moment as its age, exact on hover; page.js keeps the age right."""
    if moment is None:
        return "–"
    exact = moment.strftime("%Y-%m-%d %H:%M:%S UTC")
    return format_html(
        '<time datetime="{}" title="{}" data-ago>{}</time>', moment.isoformat(), exact, ago(moment, timezone.now())
    )


@register.simple_tag
def lasted(begin: datetime | None, end: datetime | None = None) -> SafeString | str:
    """How long something took, or takes since; page.js counts on while it has no end."""
    if begin is None:
        return "–"
    if end is not None:
        return clock((end - begin).total_seconds())
    return format_html(
        '<span class="num" data-since="{}">{}</span>',
        begin.isoformat(),
        clock((timezone.now() - begin).total_seconds()),
    )


@register.filter
def tokens(count: int | None) -> str:
    """Tokens in short: 940, 12.4k, 1.3M."""
    count = count or 0
    if count < 1000:
        return str(count)
    return f"{count / 1000:.1f}k" if count < 1_000_000 else f"{count / 1_000_000:.1f}M"


@register.filter
def money(microusd: int | None) -> str:
    """Millionths of a dollar; a price that nobody knows is 'unknown', never $0."""
    if microusd is None:
        return "unknown"
    dollars = microusd / 1_000_000
    return f"${dollars:.2f}" if dollars >= 0.01 or microusd == 0 else f"${dollars:.4f}"


@register.filter
def short(commit: str) -> str:
    """The first eight digits of a commit."""
    return commit[:8] or "–"


@register.filter
def rule(text: str) -> Rule | None:
    """What the reason means that a text is, or begins with; None when it is no reason."""
    return rule_of(text)


@register.filter
def sentence(text: str) -> str:
    """A text that others follow: with a full stop, if it has no end of its own."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


@register.filter
def changes(summary: dict[str, list[str]]) -> str:
    """What a version changes, counted: '2 inserted, 1 rewritten'."""
    names = {"inserted": "inserted", "dropped": "dropped", "rewired": "waiting for others", "reworded": "rewritten"}
    return ", ".join(f"{len(summary[key])} {name}" for key, name in names.items() if summary.get(key))


@register.filter
def words(name: str) -> str:
    """A name of our code as words: 'check_failed' → 'check failed'."""
    return name.replace("_", " ")


@register.inclusion_tag("swarms/_purse.html", takes_context=True)
def purse(context: Context, thing: Project | Swarm | Node) -> dict[str, Any]:
    """What is spent of the budget of a project, a swarm or a node, in one line."""
    found = purses.purse(budgets.subject_of(thing))
    return {"purse": found, "url": purses.address_of(thing), "may": context.get("may")}


@register.filter
def plain(text: str) -> str:
    """A reason without the underscores of our code, see swarms.words.plain."""
    return without_code(text)
