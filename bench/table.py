"""The tables of docs/performance.md, drawn from results.json."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from bench import results
from bench.peers import PEERS, Times
from config.env import PROJECT_ROOT

DOCUMENT = PROJECT_ROOT / "docs" / "performance.md"
AREAS = {"figures": "engine.", "live": "live.", "fleet": "fleet."}
"""What a part of the document shows, by the beginning of its cases."""
DAGS = ("chain100", "fan200", "layered500")


def write() -> None:
    """Draw the tables anew, between their marks in the document. Of a case without figures the old one stays."""
    text = DOCUMENT.read_text()
    figures = results.known()["figures"]
    for part, start in AREAS.items():
        found = {name: one for name, one in figures.items() if one["case"].startswith(start)}
        text = _with(text, part, partial(merged, found))
    if any(f"engine.{dag}.dramatiq_ratio" in figures for dag in DAGS):
        text = _with(text, "peers", lambda _: "\n".join(beside(figures)))
    DOCUMENT.write_text(text)


def _with(text: str, part: str, change: Callable[[str], str]) -> str:
    head, begin, rest = text.partition(f"<!-- {part} -->\n")
    old, end, foot = rest.partition(f"<!-- end of {part} -->")
    if not begin or not end:
        raise ValueError(f"{DOCUMENT.name} has no marks for its {part}")
    return head + begin + "\n" + change(old).strip() + "\n\n" + end + foot


def merged(figures: Mapping[str, Mapping[str, Any]], old: str) -> str:
    """The tables of an area, those of the cases that were measured anew in place of the old ones."""
    tables = _by_case(old) | _by_case("\n".join(drawn(figures)))
    return "\n\n".join(tables.values())


def _by_case(text: str) -> dict[str, str]:
    """Tables by the case that each begins with."""
    found = (one.strip() for one in re.split(r"^(?=\*\*\w+\*\*\. )", text, flags=re.MULTILINE))
    return {one.split("**")[1]: one for one in found if one}


def drawn(figures: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A table for each case, under what it was measured on."""
    cases: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for name, figure in figures.items():
        cases.setdefault(figure["case"], []).append((name, figure))
    taken: dict[str, str] = {}
    for case, found in cases.items():
        taken[case] = _taken(found[0][1])
    for number, (case, found) in enumerate(cases.items()):
        if number:
            yield ""
        yield f"**{case.partition('.')[2]}**. {taken[case]}"
        yield ""
        yield "| figure | measured | of its runs | to reach | |"
        yield "|---|---|---|---|---|"
        yield from (_row(name, figure) for name, figure in found)


def _row(name: str, figure: Mapping[str, Any]) -> str:
    spread = f"{results.shown(figure['min'])} to {results.shown(figure['max'])}, {figure['runs']}"
    verdict = figure["verdict"] and f"**{figure['verdict']}**"
    return (
        f"| `{name}` | {results.shown(figure['value'])} {figure['unit']} | {spread} | {figure['reach']} | {verdict} |"
    )


def _taken(figure: Mapping[str, Any]) -> str:
    """What a case was measured on, in a sentence."""
    machine, noise = figure["machine"], figure["noise"]
    return (
        f"{figure['at'][:16].replace('T', ' ')} UTC, commit {figure['commit']}, `{figure['command']}`; "
        f"{machine['cores']} cores ({machine['processor']}), {machine['memory_gb']} GB, {machine['system']}, "
        f"Python {machine['python']}, Postgres {machine['postgres']}, Valkey {machine['valkey']}; "
        f"load before {noise['load_before']}, an fsync {noise['fsync_ms']} ms, "
        f"other programs had {noise['others']:.0%} of the processors meanwhile."
    )


def beside(figures: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Wall and CPU a node as multiples of raw Dramatiq's: ours, and those of other engines."""
    yield "| engine | durable | " + " | ".join(f"{dag} wall | CPU" for dag in DAGS) + " |"
    yield "|---|---|" + "---|---|" * len(DAGS)
    ours = [
        (_value(figures, f"engine.{dag}.dramatiq_ratio"), _value(figures, f"engine.{dag}.dramatiq_cpu_ratio"))
        for dag in DAGS
    ]
    yield _engine("**Waggle**, everything on", "every step, fsync", ours)
    for peer in PEERS:
        yield _engine(peer.name, peer.keeps, (peer.chain, peer.fan, peer.layers))


def _value(figures: Mapping[str, Mapping[str, Any]], name: str) -> float | None:
    return figures[name]["value"] if name in figures else None


def _engine(name: str, keeps: str, times: Iterable[Times]) -> str:
    cells = [results.shown(one) if one is not None else "–" for both in times for one in both]
    return f"| {name} | {keeps} | " + " | ".join(cells) + " |"
