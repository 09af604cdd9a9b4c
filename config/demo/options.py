"""What `manage.py demo` can be told; read twice, by the command and by the process that follows the swarm."""

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.contracts import AGENT_RUNTIMES, Check

APPROVERS = ("scripted", "ask", "dashboard")
REHEARSAL_ONLY = (
    "The rehearsal model only knows its own sample: --goal, --repo, --branch and --check need a real model. "
    "Set WAGGLE_MODEL_BASE_URL, WAGGLE_MODEL_API_KEY and WAGGLE_MODEL_NAME in the environment or in .env, for example "
    "WAGGLE_MODEL_BASE_URL=https://api.example/v1."
)
FAILED, WRONG_CALL, BROKEN, STOPPED = 1, 2, 70, 130
"""Exit codes: no proved landing; called with what it cannot do; an error of ours; stopped by a person."""


@dataclass(frozen=True)
class Options:
    """The wishes of one call."""

    goal: str = ""
    repo: str = ""
    branch: str = ""
    checks: tuple[Check, ...] = field(default=())
    approve: str = "scripted"
    keep: bool = False
    """Whether the platform goes on after the swarm has ended."""

    @classmethod
    def of(cls, parsed: Mapping[str, Any]) -> "Options":
        """From what `add_arguments` declares."""
        return cls(
            goal=parsed["goal"].strip(),
            repo=_whole(parsed["repo"].strip()),
            branch=parsed["branch"].strip(),
            checks=tuple(parsed["check"]),
            approve=parsed["approve"],
            keep=parsed["keep"],
        )

    @property
    def needs_real_model(self) -> bool:
        """Whether the rehearsal, which plays one script, cannot do this."""
        return bool(self.goal or self.repo or self.branch or self.checks)

    def arguments(self) -> list[str]:
        """The same wishes as a command line."""
        given = {"--goal": self.goal, "--repo": self.repo, "--branch": self.branch, "--approve": self.approve}
        found = [f"{name}={value}" for name, value in given.items() if value]
        found += ["--keep"] if self.keep else []
        return [*found, *(f"--check={check.name}: {check.command}" for check in self.checks)]


def add_arguments(parser: ArgumentParser) -> None:
    """Declare all options."""
    parser.add_argument("--goal", default="", help="What you want, in words. Without it, the sample's goal.")
    parser.add_argument("--repo", default="", help="Folder or URL of a git repository. Without it, a new sample.")
    parser.add_argument("--branch", default="", help="Branch of --repo to work on and to land on (default: its own).")
    parser.add_argument(
        "--check",
        type=_check,
        action="append",
        default=[],
        metavar='"NAME: COMMAND"',
        help="A command that must pass on every merged tree of --repo; may be given several times.",
    )
    parser.add_argument(
        "--approve",
        choices=APPROVERS,
        default="scripted",
        help="Who decides approvals: a script that says yes (the default), you here, or people on the dashboard.",
    )
    parser.add_argument(
        "--runtime", choices=AGENT_RUNTIMES, default="", help="Whose agents work (default: WAGGLE_RUNTIME, or ours)."
    )
    parser.add_argument("--keep", action="store_true", help="Leave the platform running at the end, until Ctrl-C.")


def _whole(repo: str) -> str:
    """A folder by its whole path, before anybody changes the working directory; a URL as it is."""
    return str(Path(repo).expanduser().resolve()) if repo and "://" not in repo else repo


def _check(text: str) -> Check:
    name, colon, command = text.partition(":")
    if not colon or not name.strip() or not command.strip():
        raise ArgumentTypeError(f'{text!r} is not "NAME: COMMAND", for example "unit tests: python3 -m pytest -q".')
    return Check(name=name.strip(), command=command.strip())
