"""manage.py event_kinds [--json | --write FILE]"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from pydantic import BaseModel

from sessions.kinds import KINDS
from sessions.kinds.described import fields, schema, sentence
from sessions.kinds.payload import Envelope

HEAD = """\
# Events

Everything that happens is a durable event: written in the transaction of the change, numbered without gaps in its
subject, kept for good. They are behind the live pages, [webhooks](webhooks.md), replay and `manage.py verify`.
An event of a kind that is not listed here, or whose payload says anything else, cannot be written.

This file is made by `manage.py event_kinds --write docs/events.md`; `manage.py event_kinds --json` prints the JSON
Schema of every payload.

## What every event has
"""


class Command(BaseCommand):
    help = "Tell what kinds of events there are and what each has."

    def add_arguments(self, parser: CommandParser) -> None:
        """One way of telling at a time."""
        ways = parser.add_mutually_exclusive_group()
        ways.add_argument("--json", action="store_true", help="JSON Schema of every kind's payload")
        ways.add_argument("--write", type=Path, metavar="FILE", help="Write the document there")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print, or write the file."""
        if options["json"]:
            self.stdout.write(json.dumps(schema(), indent=1))
        elif file := options["write"]:
            file.write_text(document())
        else:
            self.stdout.write(document(), ending="")


def document() -> str:
    """docs/events.md"""
    lines = [HEAD, *_table(Envelope)]
    noun = ""
    for kind, model in sorted(KINDS.items()):
        if kind.partition(".")[0] != noun:
            noun = kind.partition(".")[0]
            lines += ["", f"## {noun}"]
        lines += ["", f"### {kind}", "", sentence(model), "", *_table(model)]
    return "\n".join(lines) + "\n"


def _table(model: type[BaseModel]) -> Iterator[str]:
    yield from ("| field | what stands there | meaning |", "|---|---|---|")
    for field in fields(model):
        yield f"| `{field.name}` | {field.type} | {field.meaning} |"
