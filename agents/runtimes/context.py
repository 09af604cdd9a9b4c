"""What a runtime finds around it on a runner."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from agents.contracts import Assignment
from agents.runner.confinement import Places
from agents.runner.mirror import MIRRORS
from agents.runner.reports import Reports
from agents.runner.sandbox import Confined, Sandbox
from agents.runner.workspace import Workspace, WorkspaceError
from agents.runtimes.inbox import Inbox


@dataclass
class Told:
    """What the control plane said last about this execution (see agents.contracts.link.Order), while it goes on."""

    pause: bool = False
    budget_left: int | None = None
    inbox: Inbox = field(default_factory=Inbox)
    """What people say to its agent."""


class Ready(Protocol):
    """What a runtime has got ready before there is an assignment (its `ready`)."""

    async def broken(self) -> str:
        """Returns why as soon as it is of no use any more; never before it is given away."""


@dataclass(frozen=True)
class Context:
    """The folder, the sandbox and the reports of one execution, and what is known of its surroundings."""

    folder: Path
    sandbox: Sandbox
    reports: Reports
    told: Told = field(default_factory=Told)
    ready: Ready | None = None
    """What its runtime had got ready in this folder, if it had."""

    async def workspace(self, assignment: Assignment) -> Workspace:
        """A clone of the assignment's repository. Raises WorkspaceError."""
        if assignment.repository is None:
            raise WorkspaceError("The assignment names no repository.")
        patience = 2 * assignment.lease_seconds
        mirrors = self.folder.parent / MIRRORS
        return await Workspace.clone(self.folder, assignment.repository, assignment.token, patience, mirrors)

    def confined(self, assignment: Assignment, workspace: Workspace) -> Confined:
        """Runs commands in a workspace, locked in."""
        rehearsal = assignment.model is not None and assignment.model.rehearsal
        places = Places(workspace.work, self.folder / "scratch")
        return Confined(self.sandbox, places, assignment.limits, trusted_model=rehearsal)
