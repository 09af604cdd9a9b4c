"""The end of a demo: what came of it, in figures, and what to do next."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from config.demo.figures import Figures
from config.demo.proof import Proof, Ran
from swarms.models import Swarm
from swarms.states import SwarmState


def faults(swarm: Swarm, proof: Proof | None, *, must_be_red: bool) -> list[str]:
    """Why the run is not a success; empty when the landing is proved."""
    if swarm.state != SwarmState.SUCCEEDED:
        return [f"The swarm {swarm.state}: {swarm.because}"]
    if swarm.pushed_because:
        return [f"The landing is not at the source: {swarm.pushed_because}"]
    if proof is None:
        return ["The result was not checked in a fresh clone."]
    found = []
    if not proof.on_branch:
        found.append(f"The landed commit {swarm.landed_commit[:10]} is not on {swarm.project.target_branch}.")
    found += [f"{ran.name} fails on {swarm.project.target_branch}." for ran in proof.after if not ran.ok]
    if must_be_red and not proof.red_before:
        found.append("Acceptance was green before the goal, so it proves nothing.")
    return found


def show(
    console: Console, swarm: Swarm, found: Figures, proof: Proof | None, faults: Sequence[str], *, link: str = ""
) -> None:
    """Print the table, the verdict and the next steps. `link` signs in to a platform that goes on."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, value in rows(found, proof):
        table.add_row(name, value)
    console.print()
    console.print(table)
    console.print()
    if faults:
        for fault in faults:
            console.print(f"Not done: {fault}", style="red", markup=False)
    else:
        done = f"Done: goal #{swarm.number} is on {swarm.project.target_branch} of {swarm.project.source}."
        console.print(done, style="green", markup=False, highlight=False, soft_wrap=True)
    console.print("\nWhat next", style="bold")
    for what, how in next_steps(link, rehearsal=bool(found.rehearsed)):
        console.print(f"  {what:14} {how}", markup=False, highlight=False, soft_wrap=True)


def next_steps(link: str, *, rehearsal: bool) -> list[tuple[str, str]]:
    """What a new user may want to do now."""
    look = f"sign in with {link} (once)" if link else "make up, then sign in with the link that it prints"
    steps = [("Look around", look)]
    if rehearsal:
        steps.append(
            ("A real model", "set WAGGLE_MODEL_BASE_URL, _API_KEY and _NAME in .env; .env.example has an example")
        )
    steps.append(("Your own goal", 'make demo GOAL="what you want" REPO=/path/or/url'))
    return steps


def rows(found: Figures, proof: Proof | None) -> list[tuple[str, str]]:
    """Names and values of the summary."""
    rehearsal = " (rehearsal)" if found.rehearsed else ""
    cost = "price unknown" if found.cost is None else f"${found.cost / 1_000_000:.2f}"
    lines = [
        ("Nodes", f"{found.succeeded} of {found.nodes} succeeded"),
        ("Attempts", f"{found.attempts}{_again(found)}"),
        ("Checks", f"before {_of(found.before)}, after {_of(found.after)}; {found.check_runs} runs in all"),
    ]
    if proof:
        lines.append(("Fresh clone", _tests(proof)))
        lines.append(("Commits landed", str(len(proof.log))))
    deciders = ", ".join(dict.fromkeys(name for _, name in found.approvals))
    lines += [
        ("Merges", f"{found.merged} merged, {found.conflicts} in conflict"),
        ("Approvals", f"{len(found.approvals)} by {deciders}" if found.approvals else "none"),
        ("Events", str(found.events)),
        ("Model", f"{found.calls} calls, {found.tokens:,} tokens, {cost}{rehearsal}"),
        ("Wall time", f"{found.wall:.1f} s"),
        (
            "Coordination",
            f"{found.coordination:.0%} of it; agents worked in {found.agents:.0%}, in the rest only checks ran",
        ),
    ]
    return lines


def _again(found: Figures) -> str:
    reasons = ", ".join(f"{number} {reason.replace('_', ' ')}" for reason, number in found.again)
    return f" ({reasons})" if reasons else ""


def _of(pair: tuple[int, int]) -> str:
    return f"{pair[0]} of {pair[1]}" if pair[1] else "not run"


def _tests(proof: Proof) -> str:
    total = sum((ran.passed or 0) + (ran.failed or 0) for ran in proof.after)
    if not total:
        return f"checks: before {_passed(proof.before)}, after {_passed(proof.after)}"
    return f"tests: before {_count(proof.before)} of {total}, after {_count(proof.after)} of {total}"


def _passed(runs: Sequence[Ran]) -> str:
    return f"{sum(ran.ok for ran in runs)} of {len(runs)}"


def _count(runs: Sequence[Ran]) -> int:
    return sum(ran.passed or 0 for ran in runs)
