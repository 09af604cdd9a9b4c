"""The turns of an agent, so that people can have one taken back: what was said is forgotten, files are as they were."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agents.contracts.link import Steer
from agents.runner.workspace import Workspace
from agents.runtimes.asking import GO_ON, WORD_SECONDS
from agents.runtimes.inbox import Inbox, as_heard
from agents.runtimes.opencode.client import Client, Rejected
from agents.runtimes.recording import Transcript

STOPS = ("interrupt", "revert", "unrevert")
"""What people want of an agent that makes it stand still first."""
SHOWN = 10
"""Names of files that are told."""


@dataclass(frozen=True)
class Turn:
    """What began a turn, and the workspace at that moment."""

    message: str
    text: str
    tree: str


class Turns:
    """All turns of one session. Words that are heard amid a turn belong to it."""

    def __init__(self, workspace: Workspace, transcript: Transcript) -> None:
        self._workspace = workspace
        self._transcript = transcript
        self._turns: list[Turn] = []
        self._back: list[Turn] = []
        """Those that were taken back, the last one first."""
        self._there = ""
        """The workspace before the first of these was."""

    async def begin(self, message: str, text: str) -> None:
        """A turn begins; those that were taken back are gone for good. Raises WorkspaceError."""
        tree = await self._workspace.remember() if self._turns or self._back else self._workspace.repository.commit
        self._back = []
        self._turns.append(Turn(message, text, tree))

    async def next(self, client: Client, session: str, said: Sequence[Steer], inbox: Inbox) -> str:
        """What an agent that stands still is told next. Takes turns back as people want it, and waits for their word.

        Raises Lost, WorkspaceError."""
        by = said[0].by
        while True:
            await self._obey(client, session, said)
            if (heard := as_heard(said)) or not said:
                return self._next(heard, by)
            self._transcript.doing(f"interrupted by {by}; waits for a word")
            said = await inbox.news(WORD_SECONDS)

    async def _obey(self, client: Client, session: str, said: Iterable[Steer]) -> None:
        for steer in said:
            try:
                if steer.kind == "revert":
                    await self._revert(client, session, steer.by)
                elif steer.kind == "unrevert":
                    await self._unrevert(client, session, steer.by)
            except Rejected as error:
                self._tell(f"What {steer.by} wants cannot be done: {error}", is_fault=True)

    async def _revert(self, client: Client, session: str, by: str) -> None:
        if not self._turns:
            self._tell(f"{by} wants something taken back, and nothing is left of which that is possible.")
            return
        turn = self._turns[-1]
        await client.revert(session, turn.message)
        await self._workspace.remember()
        restored = await self._workspace.restore(turn.tree)
        if not self._back:
            self._there = restored.before
        self._back.append(self._turns.pop())
        listed = _listed(restored.changed)
        self._tell(f"{by} took back what the agent did since it was told: {_short(turn.text)}\n{listed}")

    async def _unrevert(self, client: Client, session: str, by: str) -> None:
        if not self._back:
            self._tell(f"{by} wants it back, and nothing is taken back.")
            return
        await client.unrevert(session)
        self._turns += reversed(self._back)
        self._back = []
        restored = await self._workspace.restore(self._there)
        self._tell(f"{by} has it that nothing is taken back.\n{_listed(restored.changed)}")

    def _next(self, words: str, by: str) -> str:
        """What the agent is told next: people's words, on top of its task where it has forgotten that, too."""
        if not self._back:
            return words or GO_ON.format(by=by)
        if self._turns and words:
            return words
        return "\n\n".join(filter(None, [self._back[-1].text, words]))

    def _tell(self, text: str, *, is_fault: bool = False) -> None:
        self._transcript.begin_answer()
        if is_fault:
            self._transcript.note("error", state="failed", text=text)
        else:
            self._transcript.note("step", text=text)


def _short(text: str) -> str:
    first = text.strip().partition("\n")[0]
    return first if len(first) <= 120 else first[:119] + "…"


def _listed(files: list[str]) -> str:
    if not files:
        return "No file changed by that."
    more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
    return f"Files that changed by that: {', '.join(files[:SHOWN])}{more}"
