"""Where a child begins. The runner imports this alone; only children, forked warm, load the runtimes."""

from multiprocessing.connection import Connection
from pathlib import Path

from agents.contracts import FailureReason
from agents.runner.sandbox import Sandbox

PRELOAD = "agents.runner.warm"
STOP_MESSAGES = {
    FailureReason.CANCELLED: "It was cancelled.",
    FailureReason.TIMED_OUT: "It reached its time limit.",
}


def main(text: str, folder: Path, sandbox: Sandbox, log_format: str, control: Connection, errors: Connection) -> None:
    """Carries out the assignment given as JSON; see agents.runner.child."""
    from agents.runner import child

    child.main(text, folder, sandbox, log_format, control, errors)


def spare(
    runtime: str, folder: Path, sandbox: Sandbox, log_format: str, control: Connection, errors: Connection
) -> None:
    """Gets what a runtime needs ready, and waits for an assignment; see agents.runner.child."""
    from agents.runner import child

    child.spare(runtime, folder, sandbox, log_format, control, errors)
