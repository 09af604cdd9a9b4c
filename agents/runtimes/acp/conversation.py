"""One attempt's talk with an agent over the protocol, over as many programs as it takes."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

import structlog
from acp import PROTOCOL_VERSION, RequestError, text_block
from acp.schema import (
    AcpMcpServer,
    AudioContentBlock,
    ClientCapabilities,
    EmbeddedResourceContentBlock,
    FileSystemCapabilities,
    HttpMcpServer,
    ImageContentBlock,
    Implementation,
    InitializeResponse,
    McpServerStdio,
    PromptResponse,
    ResourceContentBlock,
    SseMcpServer,
    TextContentBlock,
)
from pydantic import ValidationError

from agents.contracts import Assignment, FailureReason, Outcome
from agents.runner.reports import Faults
from agents.runtimes.acp.calls import ModelCalls
from agents.runtimes.acp.desk import Desk
from agents.runtimes.acp.mirror import Mirror
from agents.runtimes.acp.program import GRACE_SECONDS, Program, Speaking
from agents.runtimes.acp.wording import BREAKS, CUT, GO_ON, NOT_FINISHED, answer_in, form, instructed
from agents.runtimes.answers import faults_of, wanted
from agents.runtimes.asking import after_interrupt
from agents.runtimes.context import Context
from agents.runtimes.delivery import LAST_WORDS, ROUNDS, Delivery, NotKept
from agents.runtimes.inbox import as_heard
from agents.runtimes.opencode.configuration import MCP, MCP_PATH
from agents.runtimes.opencode.faults import Failed
from agents.runtimes.policy import Policy
from agents.runtimes.recording import Transcript, listed
from agents.runtimes.restarts import Lost

log = structlog.get_logger(__name__)

ANSWER_SECONDS = 90.0
"""For all that an agent must answer at once, its start with it."""
STOP_SECONDS = 3.0
"""So long an agent may take to stop a turn; then its program is ended."""
AUTH_REQUIRED = -32000
T = TypeVar("T")
Servers = list[HttpMcpServer | SseMcpServer | AcpMcpServer | McpServerStdio]
Blocks = list[
    TextContentBlock | ImageContentBlock | AudioContentBlock | ResourceContentBlock | EmbeddedResourceContentBlock
]


class Conversation:
    """One agent, one session, one assignment."""

    def __init__(
        self, assignment: Assignment, context: Context, transcript: Transcript, delivery: Delivery, name: str
    ) -> None:
        self._assignment = assignment
        self._context = context
        self._inbox = context.told.inbox
        self._transcript = transcript
        self._delivery = delivery
        self._name = name
        self._mirror = Mirror(transcript)
        self._policy = Policy(context.reports, transcript)
        self._session = ""
        self._answer_type = wanted(assignment)
        self._prompt: tuple[str, ...] = (assignment.briefing, instructed(assignment.role, self._answer_type))
        """What the agent is told next, or works on."""
        self._was_sent = False
        self._rounds = 0
        self._last_words = 0
        self.calls = ModelCalls(context.told, assignment.model_calls, lambda news: transcript.note("step", text=news))
        self.last_answer = ""

    def settle(self, why: str) -> None:
        """Closes what is open in the transcript."""
        self._mirror.settle(why)

    async def go_on(self, program: Program) -> Outcome:
        """From where it stands to the agent's outcome. Raises Failed, NoChanges; Lost with the program."""
        async with program.speaking(self._desk) as speaking:
            try:
                await self._greet(speaking, program.companion.directory)
                while True:
                    reply = await self._turn(speaking)
                    if reply is not None and (outcome := await self._turn_over(speaking, reply)) is not None:
                        return outcome
            except (Lost, Failed) as error:
                self.settle(str(error))
                raise

    def _desk(self, directory: str) -> Desk:
        work = self._delivery.workspace.work
        return Desk(work, directory, self._assignment.kind == "work", self._mirror, self._policy.refusal)

    # The beginning

    async def _greet(self, speaking: Speaking, directory: str) -> None:
        """A session of the agent: a new one, or that of the program before. Raises Failed, Lost."""
        self._transcript.doing(f"starting {self._name}")
        agent, desk = speaking.agent, speaking.desk
        files = FileSystemCapabilities(read_text_file=True, write_text_file=self._assignment.kind == "work")
        can = ClientCapabilities(fs=files, terminal=False)
        us = Implementation(name="waggle", title="Waggle", version="1")
        hello = await self._answered(speaking, "initialize", agent.initialize(PROTOCOL_VERSION, can, us))
        if hello.protocol_version != PROTOCOL_VERSION:
            version = f"version {hello.protocol_version} of the protocol, and we speak {PROTOCOL_VERSION}"
            raise Failed(FailureReason.AGENT_ERROR, f"{self._name} speaks {version}.")
        servers = self._servers(hello, speaking.plane)
        if not self._session:
            made = await self._answered(speaking, "session/new", agent.new_session(directory, mcp_servers=servers))
            self._session = desk.session = made.session_id
            return
        if not (hello.agent_capabilities and hello.agent_capabilities.load_session):
            raise Failed(FailureReason.LOST, f"{self._name} died, and cannot go on with a session that it had begun.")
        loading = agent.load_session(directory, self._session, mcp_servers=servers)
        await self._answered(speaking, "session/load", loading)
        desk.session = self._session
        if self._was_sent:
            self._prompt = (GO_ON,)

    def _servers(self, hello: InitializeResponse, plane: str) -> Servers:
        """The control plane's MCP endpoint, for an agent that can reach it."""
        can = hello.agent_capabilities and hello.agent_capabilities.mcp_capabilities
        if not self._assignment.mcp or not (can and can.http):
            return []
        return [HttpMcpServer(type="http", name=MCP, url=f"{plane}{MCP_PATH}", headers=[])]

    async def _answered(self, speaking: Speaking, method: str, answer: Awaitable[T]) -> T:
        """The answer to a request that needs no model. Raises Failed, Lost."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await answer
        except TimeoutError as error:
            log.warning("an agent is mute", method=method, said=speaking.beside.said.text()[-500:])
            raise Lost(f"it did not answer `{method}` within {ANSWER_SECONDS:.0f} s") from error
        except (RequestError, ValidationError, ConnectionError) as error:
            raise await self._broken(speaking, method, error) from error

    async def _broken(self, speaking: Speaking, method: str, error: Exception) -> Exception:
        """What it means that a request brought no answer."""
        said = speaking.beside.said.text()
        if isinstance(error, RequestError):
            if (refused := self.calls.refusal()) is not None:
                return refused
            if error.code == AUTH_REQUIRED:
                what = f"{self._name} wants to be logged in, which cannot be done here: {error}"
                return Failed(FailureReason.AGENT_ERROR, what, str(error.data or ""))
            return Failed(FailureReason.AGENT_ERROR, f"{self._name} refused `{method}`: {error}", str(error.data or ""))
        if isinstance(error, ValidationError):
            what = f"{self._name} answered `{method}` with something else than the protocol says."
            return Failed(FailureReason.AGENT_ERROR, what, listed(faults_of(error)))
        if speaking.wire.fault:
            what = f"{self._name} cannot be understood: {speaking.wire.fault}"
            return Failed(FailureReason.AGENT_ERROR, what, said)
        if await speaking.is_gone():
            log.warning("the agent's program is gone", said=said[-500:])
            return Lost(speaking.beside.end())
        return Failed(FailureReason.AGENT_ERROR, f"{self._name} closed the connection, and goes on.", said)

    # A turn

    async def _turn(self, speaking: Speaking) -> PromptResponse | None:
        """The agent works on the prompt; None when it was stopped, and there is another prompt. Raises Failed, Lost."""
        self._mirror.begin_turn()
        speaking.desk.begin_turn()
        self._transcript.doing("thinking")
        self._was_sent = True
        blocks: Blocks = [text_block(text) for text in self._prompt]
        prompting = asyncio.create_task(speaking.agent.prompt(self._session, blocks))
        stopping = asyncio.create_task(self._inbox.interrupted())
        warning = asyncio.create_task(self.calls.warning())
        try:
            ends: set[asyncio.Future[Any]] = {prompting, stopping, warning, speaking.beside.ended}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if speaking.beside.ended.done():
                await asyncio.wait({prompting}, timeout=GRACE_SECONDS)  # its last words may be on their way
                if not prompting.done():
                    raise Lost(speaking.beside.end())
            if prompting.done():
                return await self._reply(speaking, prompting)
            await self._stop(speaking, prompting)
            if stopping.done():
                self._mirror.settle("Interrupted.")
                self._prompt = (await after_interrupt(self._transcript, self._inbox),)
            else:
                told = warning.result()
                self._mirror.settle("Stopped, to be told that the money runs out.")
                self._transcript.say("user", told)
                self._prompt = (told,)
            self._was_sent = False
            return None
        finally:
            for task in (prompting, stopping, warning):
                task.cancel()
            await asyncio.gather(prompting, stopping, warning, return_exceptions=True)

    async def _reply(self, speaking: Speaking, prompting: "asyncio.Task[PromptResponse]") -> PromptResponse:
        try:
            reply = prompting.result()
        except (RequestError, ValidationError, ConnectionError) as error:
            raise await self._broken(speaking, "session/prompt", error) from error
        self._mirror.end_turn(reply.usage)
        return reply

    async def _stop(self, speaking: Speaking, prompting: "asyncio.Task[PromptResponse]") -> None:
        """Stops the turn. Raises Lost when the agent does not stop: then its program is ended."""
        speaking.desk.stop_asking()
        try:
            await speaking.agent.cancel(self._session)
        except ConnectionError as error:
            raise await self._broken(speaking, "session/cancel", error) from error
        await asyncio.wait({prompting}, timeout=STOP_SECONDS)
        if not prompting.done():
            self._was_sent = False
            self._prompt = tuple(filter(None, (GO_ON, as_heard(self._inbox.take()))))
            raise Lost(f"it did not stop its turn within {STOP_SECONDS:.0f} s")
        if prompting.exception() is not None:
            log.info("the stopped turn ended with an error", because=str(prompting.exception()))

    # The end of a turn

    async def _turn_over(self, speaking: Speaking, reply: PromptResponse) -> Outcome | None:
        """The agent stopped: with an answer, which may be sent back to it, or without. Raises Failed or NoChanges."""
        if reply.stop_reason == "refusal":
            raise Failed(FailureReason.AGENT_ERROR, f"{self._name} refuses to go on.", self._mirror.last_said[-4000:])
        given = answer_in(self._mirror.last_said)
        if (given is None or self._last_words < LAST_WORDS) and (heard := self._heard(speaking)):
            self._last_words += given is not None
            self._say(heard if given is None else f"Before you finish: {heard}")
            return None
        if given is None:
            if (refused := self.calls.refusal()) is not None:
                raise refused
            if reply.stop_reason == "max_tokens":
                self._again(CUT, ["its message was cut off"])
            else:
                self._again(NOT_FINISHED + form(self._answer_type), ["there is no `final_result` in it"])
            return None
        self.last_answer = str(given)
        try:
            answer = self._answer_type.model_validate(given)
            self._transcript.begin_answer()
            outcome = await self._delivery.outcome(answer)
            await self._context.reports.outcome(outcome)
            return outcome
        except ValidationError as wrong:
            faults = faults_of(wrong)
        except NotKept as error:
            faults = [str(error)]
        except Faults as error:
            faults = error.faults
        self._again(BREAKS.format(listed(faults)), faults)
        return None

    def _heard(self, speaking: Speaking) -> str:
        """What the agent could not be told while it worked."""
        refused, speaking.desk.refused = speaking.desk.refused, []
        return "\n\n".join(filter(None, [*refused, as_heard(self._inbox.take())]))

    def _say(self, text: str) -> None:
        self._prompt, self._was_sent = (text,), False

    def _again(self, text: str, faults: Sequence[str]) -> None:
        """Sends an answer back to the agent. Raises Failed when that was done often enough."""
        self._rounds += 1
        if self._rounds > ROUNDS:
            message = f"The agent's answer kept breaking its contract: {'; '.join(faults)}"
            raise Failed(FailureReason.INVALID_OUTPUT, message, self.last_answer or self._mirror.last_said[-4000:])
        self._transcript.say("user", text)
        self._say(text)
