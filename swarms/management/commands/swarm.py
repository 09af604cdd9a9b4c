"""manage.py swarm pause textkit#12 --team acme"""

import sys
from argparse import SUPPRESS, ArgumentTypeError
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.dateparse import parse_datetime

from swarms import naming, operations, replan, rollback
from swarms.models import Node, Swarm
from swarms.plan_yaml import PlanFaults
from swarms.terminal import plain
from tenants.context import in_schema

SWARM_VERBS: dict[str, Callable[[Swarm, str], object]] = {
    "pause": lambda swarm, because: operations.pause(swarm, by=None, because=because),
    "resume": lambda swarm, because: operations.resume(swarm, by=None, because=because),
    "drain": lambda swarm, because: operations.drain(swarm, by=None, because=because),
    "cancel": lambda swarm, because: operations.cancel(swarm, by=None, because=because),
    "retry": lambda swarm, because: operations.retry_swarm(swarm, by=None, because=because),
    "rollback": lambda swarm, because: rollback.request(swarm, by=None),
}
NODE_VERBS = ("skip", "retry", "priority")
VERBS = ("show", "plan", *SWARM_VERBS, "skip", "priority", "deadline", "change")
TAKEN = {
    "node": ("show", *NODE_VERBS),
    "to": ("priority",),
    "at": ("deadline",),
    "because": ("pause", "resume", "drain", "cancel", "retry", "skip"),
    "plan": ("change",),
    "note": ("change",),
}
"""Which verbs take an option; with the others it is refused, because it would be dropped."""


def _moment(text: str) -> datetime | None:
    if text == "none":
        return None
    try:
        found = parse_datetime(text)
    except ValueError:  # it looks like one, and there is no such day
        found = None
    if found is None or found.tzinfo is None:
        raise ArgumentTypeError(f"{text} is no moment with a time zone: write 2030-01-31T18:00+00:00, or none")
    return found


def _text_of(path: str) -> str:
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text()
    except (OSError, ValueError) as error:
        raise ArgumentTypeError(f"{path} cannot be read: {error}") from error


class Command(BaseCommand):
    help = "Looks at a swarm of a team, or does to it what a member may do on its page."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("verb", choices=VERBS)
        parser.add_argument("swarm", help="project#number, for example textkit#12, or the swarm's id")
        parser.add_argument("--team", required=True, help="The team's address, e.g. acme")
        for name, told in (
            ("node", {"help": "Key of a node"}),
            ("to", {"type": int, "help": "The priority"}),
            ("at", {"type": _moment, "help": "2030-01-31T18:00+00:00; none takes the deadline away"}),
            ("because", {"help": "Why, for those who look at it later"}),
            ("plan", {"type": _text_of, "help": "File with the whole plan as YAML (as `plan` prints it), or -"}),
            ("note", {"help": "What the coordinator shall change"}),
        ):
            words: dict[str, Any] = {**told, "help": f"{told['help']}; for {', '.join(TAKEN[name])}"}
            parser.add_argument(f"--{name}", default=SUPPRESS, **words)

    def handle(self, *args: Any, **options: Any) -> None:
        verb = options["verb"]
        for name, verbs in TAKEN.items():
            if name in options and verb not in verbs:
                raise CommandError(f"--{name}: {verb} takes none; it is for {', '.join(verbs)}.")
        try:
            schema = naming.schema_of(options["team"])
        except naming.NoSuch as error:
            raise CommandError(str(error)) from error
        with in_schema(schema):
            swarm = _swarm(options["swarm"])
            if verb == "plan":
                self._say(replan.written(swarm))
                return
            node = _node(swarm, options["node"]) if "node" in options else None
            try:
                self._do(swarm, node, options)
            except PlanFaults as error:
                raise CommandError("\n".join(["The plan has faults:", *error.faults])) from error
            except ValidationError as error:
                raise CommandError(" ".join(error.messages)) from error
            self._show(swarm, node if verb == "show" else None)

    def _do(self, swarm: Swarm, node: Node | None, options: dict[str, Any]) -> None:
        verb, because = options["verb"], options.get("because", "")
        if verb == "skip":
            if node is None:
                raise CommandError("--node: say which node is left out.")
            operations.skip(node, by=None, because=because)
        elif verb == "priority":
            if "to" not in options:
                raise CommandError("--to: say the priority, for example --to 10.")
            operations.set_priority(node or swarm, options["to"], by=None)
        elif verb == "deadline":
            if "at" not in options:
                raise CommandError("--at: say until when, for example --at 2030-01-31T18:00+00:00, or --at none.")
            operations.set_deadline(swarm, options["at"], by=None)
        elif verb == "change":
            self._change(swarm, options)
        elif verb == "retry" and node is not None:
            operations.retry_node(node, by=None, because=because)
        elif verb in SWARM_VERBS:
            SWARM_VERBS[verb](swarm, because)

    def _change(self, swarm: Swarm, options: dict[str, Any]) -> None:
        if ("plan" in options) == ("note" in options):
            raise CommandError("Give either --plan, a file with the whole plan as YAML, or --note for the coordinator.")
        if "plan" in options:
            replan.change(swarm, options["plan"], by=None)
        else:
            replan.ask(swarm, options["note"], by=None)

    def _show(self, swarm: Swarm, only: Node | None) -> None:
        swarm.refresh_from_db()
        self._say(f"{swarm} ({swarm.pk}): {swarm.state}" + (f", {swarm.because}" if swarm.because else ""))
        for node in [only] if only else swarm.nodes.order_by("key"):
            self._say(f"  {node.key:<24} {node.state:<18} {node.because}".rstrip())
        for asked in swarm.approvals.filter(state="pending").order_by("requested_at"):
            self._say(f"  waits for approval: {asked.title}")

    def _say(self, text: str) -> None:
        self.stdout.write(plain(text))


def _swarm(name: str) -> Swarm:
    found = Swarm.objects.select_related("project")
    said = naming.parts(name)
    if said and said.number is not None and not said.key:
        swarm = found.filter(project__slug=said.slug, number=said.number).first()
    else:
        try:
            swarm = found.filter(pk=UUID(name)).first()
        except ValueError as error:
            raise CommandError(f"swarm: {name} is neither project#number nor an id.") from error
    if swarm is None:
        raise CommandError(f"swarm: the team has no swarm {name}.")
    return swarm


def _node(swarm: Swarm, key: str) -> Node:
    node = swarm.nodes.filter(key=key).first()
    if node is None:
        keys = ", ".join(swarm.nodes.order_by("key").values_list("key", flat=True)[:40]) or "none yet"
        raise CommandError(f"--node: {swarm} has no node {key}. Its nodes: {keys}.")
    node.swarm = swarm
    return node
