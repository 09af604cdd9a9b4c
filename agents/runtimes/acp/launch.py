"""Which agent is started, and what it finds around it."""

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agents.contracts import Assignment
from agents.runner.confinement import WORKSPACE
from agents.runtimes.companion import Companion
from agents.runtimes.opencode.configuration import DENY, FOLDER, MODEL_PATH, PROGRAM, configuration, variables
from agents.runtimes.opencode.server import Missing, furnish, program

DEFAULT = "opencode acp"
COVERED = tuple(map(Path, ("/tmp", "/proc", "/dev", "/sys", WORKSPACE)))
"""The sandbox has its own of these: what lies below is shown elsewhere."""


@dataclass(frozen=True)
class Launch:
    """An agent as the operator named it."""

    words: tuple[str, ...]
    shown: tuple[Path, ...] = ()
    """Files and folders of this machine that the agent needs."""
    opencode: Path | None = None
    """OpenCode's program, when that is the agent: it gets the configuration that our OpenCode runtime gives."""

    @property
    def name(self) -> str:
        """For people."""
        return shlex.join(self.words)

    def seen(self) -> dict[Path, str]:
        """What the sandbox shows, each with the path inside."""
        found = {}
        for number, path in enumerate(self.shown):
            is_covered = any(path.is_relative_to(one) for one in COVERED)
            found[path] = f"/opt/shown/{number}/{path.name}" if is_covered else str(path)
        return found | ({self.opencode: PROGRAM} if self.opencode else {})

    def command(self, companion: Companion) -> Sequence[str]:
        """The command line, with the paths that the agent sees."""
        if self.opencode:
            return (companion.seen(self.opencode), *self.words[1:])
        words = list(self.words)
        for path in sorted(self.shown, key=lambda one: len(str(one)), reverse=True):
            words = [word.replace(str(path), companion.seen(path)) for word in words]
        return words

    def variables(self, assignment: Assignment, companion: Companion, plane: int) -> Mapping[str, str]:
        """The environment: where the model is, in the words that most agents know. The key is added outside."""
        assert assignment.model is not None
        address = f"http://127.0.0.1:{plane}"
        found = {
            "OPENAI_BASE_URL": f"{address}{MODEL_PATH}",
            "OPENAI_API_KEY": "none",
            "OPENAI_MODEL": assignment.model.name,
        }
        if self.opencode:
            config = configuration(assignment, address)
            config.pop("mcp", None)  # the session brings it
            config["permission"]["question"] = DENY  # the protocol has no way to ask people
            config["agent"] = {"title": {"disable": True}}  # nobody sees a title
            found |= variables(config, f"{companion.home}/{FOLDER}")
        return found

    def furnish(self, companion: Companion) -> None:
        """Puts what the agent needs into its home, before it was ever started."""
        if self.opencode:
            furnish(companion.places.tmp)


def launch(environ: Mapping[str, str] = os.environ) -> Launch:
    """The agent that the runner's settings name. Raises Missing."""
    try:
        words = tuple(shlex.split(environ.get("WAGGLE_RUNNER_ACP", "") or DEFAULT))
    except ValueError as error:
        raise Missing(f"WAGGLE_RUNNER_ACP is no command line: {error}.") from error
    shown = tuple(Path(name) for name in environ.get("WAGGLE_RUNNER_ACP_SHOWS", "").split(":") if name)
    for path in shown:
        if not path.is_absolute() or path == Path("/") or not path.exists():
            raise Missing(
                f"WAGGLE_RUNNER_ACP_SHOWS names {str(path)!r}, which is no place of this machine that can be shown."
            )
    return Launch(words, shown, program() if words[0] == "opencode" else None)
