"""The tools of a built-in agent, confined to the work tree of its workspace."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic_ai import RunContext
from pydantic_ai.exceptions import ToolFailed

from agents.runner.sandbox import Confined
from agents.runtimes.editing import fault_of, lines_of
from agents.runtimes.files import MAX_FILE_BYTES, place, save, text_of
from agents.runtimes.output import Growing
from agents.runtimes.policy import CONTENT
from agents.runtimes.todo import Plan, Step

MAX_LISTED = 1000
MAX_READ_CHARS = 40_000
SEARCH_SECONDS = 20


@dataclass
class Desk:
    """Where an agent works. One tool at a time: a command must not move files under another tool's feet."""

    work: Path
    confined: Confined
    deliver: Callable[[Any], Awaitable[None]]
    """Takes the agent's final answer; raises ModelRetry when the agent must mend it."""
    ask: Callable[[str, list[str]], Awaitable[str]]
    """Asks the people of the team, with options to choose from, and gives what they answer."""
    refusal: Callable[[str, dict[str, Any]], Awaitable[str]]
    """Why a tool may not be used in this way; empty: it may. Waits for a person where one must decide."""
    show: Callable[[str, str], None]
    """Takes what a call, named by its id, has printed so far."""
    platform: Callable[..., Awaitable[str]] | None = None
    """Calls a tool that the control plane has for agents; None: there is nobody to ask."""
    plan: Plan = field(default_factory=Plan)
    one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def permit(self, tool: str, **arguments: Any) -> None:
        """Goes on when the team's rules, or a person, allow it. Raises ToolFailed."""
        for name, value in arguments.items():
            if name not in CONTENT and isinstance(value, str) and "\0" in value:
                raise ToolFailed(f"There is a NUL character in `{name}`, which no name and no command can have.")
        if why := await self.refusal(tool, arguments):
            raise ToolFailed(why)

    def place(self, path: str) -> Path:
        """The real path of a name in the work tree. Raises ToolFailed for a path that leads elsewhere."""
        return place(self.work, path)

    def file(self, path: str) -> Path:
        """The real path of an existing, reasonably small file. Raises ToolFailed."""
        real = self.place(path)
        if real.is_dir():
            raise ToolFailed(f"{path!r} is a folder; use list_files.")
        if not real.is_file():
            raise ToolFailed(f"There is no file {path!r}; list_files shows what there is.")
        if real.stat().st_size > MAX_FILE_BYTES:
            raise ToolFailed(f"{path!r} has {real.stat().st_size} bytes, more than {MAX_FILE_BYTES}; use search.")
        return real


Ctx = RunContext[Desk]


async def list_files(ctx: Ctx, path: str = ".", glob: str = "**/*") -> str:
    """Lists the files under a folder of the workspace, one path a line.

    Args:
        path: The folder, relative to the workspace's root.
        glob: Only files that match this pattern, e.g. '**/*.py'.
    """
    await ctx.deps.permit("list", path=path, glob=glob)
    async with ctx.deps.one_at_a_time:
        folder = ctx.deps.place(path)
        if not folder.is_dir():
            raise ToolFailed(f"{path!r} is not a folder.")
        if glob.startswith("/") or ".." in Path(glob).parts:
            raise ToolFailed(f"{glob!r} leads out of the workspace; use a pattern such as '**/*.py'.")
        names = await asyncio.to_thread(_names, folder, glob or "**/*", ctx.deps.work.resolve())
    if not names:
        return "No file matches."
    more = f"\n[… more than {MAX_LISTED} files; narrow the pattern …]" if len(names) > MAX_LISTED else ""
    return "\n".join(sorted(names[:MAX_LISTED])) + more


async def read_file(ctx: Ctx, path: str, start: int = 1, lines: int = 400) -> str:
    """Reads a text file, with line numbers.

    Args:
        path: The file, relative to the workspace's root.
        start: The first line to show, counted from 1.
        lines: How many lines to show.
    """
    await ctx.deps.permit("read", path=path)
    async with ctx.deps.one_at_a_time:
        text = text_of(ctx.deps.file(path), path)
    everything = lines_of(text)
    first = max(start, 1)
    shown = everything[first - 1 : first - 1 + max(lines, 1)]
    if not shown:
        return f"[{path} has {len(everything)} lines]"
    numbered = "\n".join(f"{number:>5}\t{line}" for number, line in enumerate(shown, first))
    if len(numbered) > MAX_READ_CHARS:
        return numbered[:MAX_READ_CHARS] + "\n[… too long; read fewer lines …]"
    left = len(everything) - (first - 1 + len(shown))
    more = f"\n[… {left} more lines …]" if left > 0 else ""
    return numbered + more + ("\n[lines of this file end with \\r\\n]" if "\r\n" in text else "")


async def search(ctx: Ctx, pattern: str, path: str = ".") -> str:
    """Searches files for a regular expression; gives path, line number and line of each match.

    Args:
        pattern: A Perl-compatible regular expression.
        path: A file or folder, relative to the workspace's root.
    """
    desk = ctx.deps
    await desk.permit("search", path=path, pattern=pattern)
    async with desk.one_at_a_time:
        target = desk.place(path).relative_to(desk.work.resolve())
        options = ("-rnIP", "--exclude-dir=.git", "--devices=skip", "--max-count=50")
        try:
            process = await asyncio.create_subprocess_exec(
                *("grep", *options, "-e", pattern, "--", str(target)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                cwd=desk.work,
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
            )
        except OSError as error:
            raise ToolFailed(f"The search cannot begin: {error.strerror}.") from error
        try:
            output, _ = await asyncio.wait_for(process.communicate(), SEARCH_SECONDS)
        except TimeoutError as error:
            raise ToolFailed(f"The search took longer than {SEARCH_SECONDS} s; use a simpler pattern.") from error
        finally:
            if process.returncode is None:
                process.kill()
    text = output.decode("utf-8", "replace")
    if process.returncode == 1:
        return "No match."
    if process.returncode != 0:
        raise ToolFailed(f"The search failed: {text.strip()}")
    found = [line[:400].removeprefix("./") for line in text.splitlines()]
    more = f"\n[… {len(found) - 200} more matches …]" if len(found) > 200 else ""
    return "\n".join(found[:200]) + more


async def write_file(ctx: Ctx, path: str, content: str) -> str:
    """Writes a whole file, new or not; folders are made as needed.

    Args:
        path: The file, relative to the workspace's root.
        content: All of its text.
    """
    await ctx.deps.permit("edit", path=path, content=content)
    async with ctx.deps.one_at_a_time:
        real = ctx.deps.place(path)
        if real.is_dir():
            raise ToolFailed(f"{path!r} is a folder.")
        save(real, path, content)
    return f"Wrote {path}: {len(content.splitlines())} lines."


async def edit_file(ctx: Ctx, path: str, old: str, new: str) -> str:
    """Replaces a piece of a file. The piece must occur exactly once.

    Args:
        path: The file, relative to the workspace's root.
        old: The text to replace, exactly as it stands in the file, without line numbers.
        new: What takes its place.
    """
    await ctx.deps.permit("edit", path=path, old=old, new=new)
    async with ctx.deps.one_at_a_time:
        real = ctx.deps.file(path)
        text = text_of(real, path)
        if fault := fault_of(text, old):
            raise ToolFailed(f"{path}: {fault}")
        save(real, path, text.replace(old, new))
    return f"Edited {path}."


async def run_command(ctx: Ctx, command: str) -> str:
    """Runs a shell command at the workspace's root, sandboxed: no network, no git, limited time and memory.

    Args:
        command: The command, e.g. 'python3 -m unittest -q tests.test_words'.
    """
    await ctx.deps.permit("shell", command=command)
    desk = ctx.deps
    growing = Growing(lambda shown: desk.show(ctx.tool_call_id or "", shown))
    async with desk.one_at_a_time:
        try:
            result = await desk.confined.run(command, whole=growing)
        except OSError as error:
            raise ToolFailed(f"The command cannot be started: {error.strerror}.") from error
        finally:
            growing.close()
    return f"exit code {result.exit_code} after {result.seconds:.1f} s\n{result.output}".rstrip()


async def update_plan(ctx: Ctx, steps: list[Step]) -> str:
    """Keeps your list of what is to do, whole, each time it changes. Use it for work of more than a few steps: people
    see it, and it stays with you when your talk becomes too long.

    Args:
        steps: All steps in order, done ones too; one of them in progress.
    """
    ctx.deps.plan.steps = steps
    return ctx.deps.plan.in_short()


async def ask_person(ctx: Ctx, question: str, options: list[str] | None = None) -> str:
    """Asks the people of the team a question and waits for the answer, which may take many minutes or not come.

    Args:
        question: What you must know, with all that one needs to answer it.
        options: Answers to choose from; people may also answer in their own words.
    """
    return await ctx.deps.ask(question, options or [])


Function = Callable[..., Awaitable[str]]
READING: tuple[Function, ...] = (list_files, read_file, search)
WRITING: tuple[Function, ...] = (write_file, edit_file)


def _names(folder: Path, glob: str, root: Path) -> list[str]:
    try:
        found = (
            str(path.relative_to(root))
            for path in folder.glob(glob)
            if ".git" not in path.relative_to(root).parts and path.is_file() and path.resolve().is_relative_to(root)
        )
        return list(islice(found, MAX_LISTED + 1))
    except (ValueError, OSError, re.error) as error:
        raise ToolFailed(f"{glob!r} is not a usable pattern: {error}.") from error
