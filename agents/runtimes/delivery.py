"""What becomes of an agent's answer: its files are kept, its changes committed and pushed, its outcome made."""

import mimetypes
from dataclasses import dataclass
from uuid import UUID

from pydantic_ai.exceptions import ToolFailed

from agents.contracts import (
    Assignment,
    FailureOutcome,
    FailureReason,
    Outcome,
    PlanOutcome,
    PlanProposal,
    ReviewOutcome,
    WorkOutcome,
)
from agents.runner.reports import Faults
from agents.runner.workspace import Workspace
from agents.runtimes.answers import Answer, Review, named
from agents.runtimes.context import Context
from agents.runtimes.files import bytes_of
from agents.runtimes.recording import Transcript, listed
from tenants.faults import crash_point

ROUNDS = 3
"""How often an answer that breaks its contract goes back to the agent."""
LAST_WORDS = 2
"""How often an agent that has finished goes on because somebody said something meanwhile."""


class NoChanges(Exception):
    """The agent says that it is done, and its work tree is as it was."""

    def failure(self, answer: str) -> FailureOutcome:
        """What the attempt ends with; `answer` is what the agent said last."""
        message = "The agent said that it is done, but changed nothing."
        return FailureOutcome(reason=FailureReason.NO_CHANGES, message=message, detail=answer)


class NotKept(Exception):
    """Not all files that an answer names can be kept; the message says which and why."""


@dataclass(frozen=True)
class Delivery:
    """Makes the outcome of one execution."""

    assignment: Assignment
    context: Context
    workspace: Workspace
    transcript: Transcript

    async def outcome(self, answer: Answer) -> Outcome:
        """The outcome of an answer. Raises NotKept, NoChanges or WorkspaceError."""
        if isinstance(answer, PlanProposal):
            return PlanOutcome(plan=answer)
        if isinstance(answer, Review):
            findings = tuple(answer.findings)
            return ReviewOutcome(
                verdict=answer.verdict, summary=answer.summary, findings=findings, answers=named(answer)
            )
        artifacts = await self._keep(answer.artifacts)
        self.transcript.doing("committing and pushing its changes")
        change = await self.workspace.commit_all(f"{self.assignment.title}\n\n{answer.summary}\n", list(artifacts))
        if change is None and not self.assignment.writes and self.assignment.repository:
            # Its part lies outside the repository: what it leaves is the commit that it started from.
            commit = self.assignment.repository.commit
            kept = tuple(artifacts.values())
            return WorkOutcome(commit=commit, summary=answer.summary, artifacts=kept, answers=named(answer))
        if change is None:
            raise NoChanges
        crash_point("runner.unpushed")
        await self.workspace.push()
        crash_point("runner.pushed")
        self.transcript.note("patch", text=change.diff)
        kept = tuple(artifacts.values())
        return WorkOutcome(
            commit=change.commit, summary=answer.summary, files=change.files, artifacts=kept, answers=named(answer)
        )

    async def _keep(self, paths: list[str]) -> dict[str, UUID]:
        """Sends the files that the agent names; the id of each, by its path. Raises NotKept with what is refused."""
        kept: dict[str, UUID] = {}
        faults: list[str] = []
        for path in paths:
            try:
                name, file = bytes_of(self.workspace.work, path)
            except ToolFailed as error:
                faults.append(str(error))
                continue
            with file:
                self.transcript.doing(f"keeping {name}")
                media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
                try:
                    kept[name] = (await self.context.reports.artifact(file, name=name, media_type=media_type)).artifact
                except Faults as error:
                    faults += error.faults
        if faults:
            raise NotKept(f"Not everything that you name as an artifact can be kept:\n{listed(faults)}")
        return kept
