"""The command line."""

import argparse
import sys
from pathlib import Path
from typing import List, Optional

from textkit.case import STYLES, convert
from textkit.slug import slugify
from textkit.wrap import wrap


def read(name: str) -> str:
    """The text of a file, or of standard input when the name is '-'."""
    return sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")


def parser() -> argparse.ArgumentParser:
    """All commands; each sets `run`, which takes the arguments and gives the text to print."""
    top = argparse.ArgumentParser(prog="textkit", description="Small tools for plain text.")
    commands = top.add_subparsers(dest="command", required=True)

    slug = commands.add_parser("slug", help="make a name for a URL or a file")
    slug.add_argument("text")
    slug.set_defaults(run=lambda given: slugify(given.text))

    case = commands.add_parser("case", help="write an identifier in another style")
    case.add_argument("style", choices=STYLES)
    case.add_argument("text")
    case.set_defaults(run=lambda given: convert(given.text, given.style))

    lines = commands.add_parser("wrap", help="wrap paragraphs to a width")
    lines.add_argument("file", help="'-' reads standard input")
    lines.add_argument("--width", type=int, default=72)
    lines.set_defaults(run=lambda given: wrap(read(given.file), given.width))

    return top


def main(arguments: Optional[List[str]] = None) -> int:
    """Run one command; gives the exit code."""
    given = parser().parse_args(arguments)
    try:
        print(given.run(given))
    except OSError as problem:
        print(f"textkit: {problem}", file=sys.stderr)
        return 1
    return 0
