"""The board of a swarm as text. Pure: a view in, something that rich can print out."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from config.demo.watch import View, Worker
from swarms.board import Card
from swarms.looks import Look, look

GLYPHS = {
    "circle-dashed": "○",
    "check": "✓",
    "x": "✗",
    "triangle-alert": "!",
    "shield-check": "◆",
    "git-merge": "↳",
    "git-fork": "⇄",
    "rotate-ccw": "↻",
    "ban": "⊘",
    "minus": "–",
    "clock": "◷",
    "circle-question-mark": "?",
    "play": "▷",
    "pause": "‖",
}
TURNING = "◐◓◑◒"
STYLES = {
    "succeeded": "green",
    "running": "cyan",
    "ready": "cyan",
    "approval": "bold yellow",
    "retrying": "yellow",
    "conflict": "magenta",
    "failed": "bold red",
    "lost": "red",
    "paused": "yellow",
}
"""Colours by tone; a glyph and a word always stand beside them."""
NARROWEST = 20
"""Columns of a rank below which the graph becomes a list."""


def draw(
    view: View, lately: Sequence[tuple[float, str]], width: int, *, rehearsal: bool, beat: int = 0
) -> RenderableType:
    """The whole board. `beat` turns the glyphs of what runs."""
    parts: list[RenderableType] = [_header(view, rehearsal, beat), Text()]
    if view.cards:
        parts += [graph(view.cards, width, beat), Text()]
    parts += [_workers(view.workers, rehearsal, beat), Text()]
    parts += [Text(f"! Approval needed: {approval.title}", style=STYLES["approval"]) for approval in view.asks]
    parts += [_line(seconds, text) for seconds, text in lately]
    return Group(*parts)


def _header(view: View, rehearsal: bool, beat: int) -> Text:
    swarm, meters = view.swarm, view.meters
    state = look("swarm", swarm.state)
    text = Text.assemble(("Waggle", "bold"), f"  {swarm}  ", (f"{_glyph(state, beat)} {state.word}", _style(state)))
    text.append(f"  {view.seconds:.0f} s", "dim")
    if meters.total:
        text.append(f"  {meters.done} of {meters.total} nodes", "dim")
    text.append(f"  {meters.tokens:,} tokens", "dim")
    if rehearsal:
        text.append("  rehearsal: scripted answers, no model is asked", "yellow")
    return _cut(text)


def graph(cards: Sequence[Card], width: int, beat: int = 0) -> Table:
    """Nodes by rank: a column for each rank where the terminal is wide enough, else a list in order."""
    ranks = by_rank(cards)
    columns = width // len(ranks)
    table = Table.grid(padding=(0, 2 if columns >= NARROWEST else 1))
    if columns < NARROWEST:
        for number, rank in enumerate(ranks, 1):
            for card in rank:
                table.add_row(Text(str(number), "dim"), _name(card, beat), Text(card.sub, "dim"), _after(card))
        return table
    for _ in ranks:
        table.add_column(width=columns - 2, no_wrap=True, overflow="ellipsis")
    table.add_row(*(Group(*(_box(card, beat) for card in rank)) for rank in ranks))
    return table


def by_rank(cards: Sequence[Card]) -> list[list[Card]]:
    """Cards by the length of the longest way to them. Expects no cycle."""
    known = {card.key: card for card in cards}
    depth: dict[str, int] = {}

    def rank(key: str) -> int:
        if key not in depth:
            depth[key] = 1 + max((rank(parent) for parent in known[key].parents if parent in known), default=-1)
        return depth[key]

    columns: list[list[Card]] = [[] for _ in range(max(map(rank, known), default=-1) + 1)]
    for card in cards:
        columns[depth[card.key]].append(card)
    return columns


def _box(card: Card, beat: int) -> Group:
    lines = [_name(card, beat), Text(f"  {card.sub}", "dim")]
    return Group(*(_cut(line) for line in [*lines, *([_after(card)] if card.parents else []), Text()]))


def _name(card: Card, beat: int) -> Text:
    return Text(f"{_glyph(card.look, beat)} {card.key}", _style(card.look))


def _after(card: Card) -> Text:
    return Text(f"  ← {', '.join(card.parents)}" if card.parents else "", "dim")


def _workers(workers: Sequence[Worker], rehearsal: bool, beat: int) -> RenderableType:
    if not workers:
        return Text("Nobody is at work.", "dim")
    table = Table.grid(padding=(0, 2))
    for worker in workers:
        label = " (rehearsal)" if rehearsal and worker.is_agent else ""
        who = Text(f"{TURNING[beat % len(TURNING)]} {worker.agent}{label}", "cyan")
        table.add_row(who, _cut(Text(worker.title)), _cut(Text(short(worker.doing, 60), "dim")))
    return table


def _line(seconds: float, text: str) -> Text:
    return _cut(Text.assemble((f"{seconds:6.1f} s  ", "dim"), text))


def _glyph(how: Look, beat: int) -> str:
    return TURNING[beat % len(TURNING)] if how.icon == "loader-circle" else GLYPHS.get(how.icon, "•")


def _style(how: Look) -> str:
    return STYLES.get(how.tone, "dim")


def _cut(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def short(text: str, width: int) -> str:
    """One line of at most `width` characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
