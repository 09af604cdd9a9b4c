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
from tenants.context import in_schema
from tenants.models import Domain

SWARM_VERBS: dict[str, Callable[[Swarm], object]] = {
    "pause": lambda swarm: operations.pause(swarm, by=None),
    "resume": lambda swarm: operations.resume(swarm, by=None),
    "drain": lambda swarm: operations.drain(swarm, by=None),
    "cancel": lambda swarm: operations.cancel(swarm, by=None),
    "retry": lambda swarm: operations.retry_swarm(swarm, by=None),
    "rollback": lambda swarm: rollback.request(swarm, by=None),
}
NODE_VERBS = ("skip", "retry", "priority")
VERBS = ("show", "plan", *SWARM_VERBS, "skip", "priority", "deadline", "change")


def _moment(text: str) -> datetime | None:
    if text == "none":
        return None
    found = parse_datetime(text)
    if found is None or found.tzinfo is None:
        raise ArgumentTypeError(f"{text} is no moment with a time zone: write 2030-01-31T18:00+00:00, or none")
    return found


def _text_of(path: str) -> str:
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentTypeError(f"{path} cannot be read: {error}") from error


class Command(BaseCommand):
    help = "Looks at a swarm of a team, or does to it what a member may do on its page."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("verb", choices=VERBS)
        parser.add_argument("swarm", help="project#number, for example textkit#12, or the swarm's id")
        parser.add_argument("--team", required=True, help="The team's address, e.g. acme")
        parser.add_argument("--node", default="", help="Key of a node, for retry, skip and priority")
        parser.add_argument("--to", type=int, help="The priority, for priority")
        parser.add_argument(
            "--at", type=_moment, default=SUPPRESS, help="2030-01-31T18:00+00:00, for deadline; none takes it away"
        )
        parser.add_argument("--because", default="", help="Why, for skip")
        parser.add_argument(
            "--plan", type=_text_of, help="File with the whole plan as YAML (as `plan` prints it), or -, for change"
        )
        parser.add_argument("--note", default="", help="What the coordinator shall change, for change")

    def handle(self, *args: Any, **options: Any) -> None:
        domain = Domain.objects.select_related("tenant").filter(slug=options["team"]).first()
        if domain is None:
            raise CommandError(f"--team: there is no team with the address {options['team']}.")
        with in_schema(domain.tenant.schema_name):
            swarm = _swarm(options["swarm"])
            if options["verb"] == "plan":
                self.stdout.write(replan.written(swarm))
                return
            try:
                self._do(swarm, options)
            except PlanFaults as error:
                raise CommandError("\n".join(["The plan has faults:", *error.faults])) from error
            except ValidationError as error:
                raise CommandError(" ".join(error.messages)) from error
            self._show(swarm)

    def _do(self, swarm: Swarm, options: dict[str, Any]) -> None:
        verb, node = options["verb"], _node(swarm, options["node"]) if options["node"] else None
        if node is not None and verb not in (*NODE_VERBS, "show"):
            raise CommandError(f"--node: {verb} is for the whole swarm.")
        if verb == "skip":
            if node is None:
                raise CommandError("--node: say which node is left out.")
            operations.skip(node, by=None, because=options["because"])
        elif verb == "priority":
            if options["to"] is None:
                raise CommandError("--to: say the priority, for example --to 10.")
            operations.set_priority(node or swarm, options["to"], by=None)
        elif verb == "deadline":
            if "at" not in options:
                raise CommandError("--at: say until when, for example --at 2030-01-31T18:00+00:00, or --at none.")
            operations.set_deadline(swarm, options["at"], by=None)
        elif verb == "change":
            self._change(swarm, options)
        elif verb == "retry" and node is not None:
            operations.retry_node(node, by=None)
        elif verb in SWARM_VERBS:
            SWARM_VERBS[verb](swarm)

    def _change(self, swarm: Swarm, options: dict[str, Any]) -> None:
        if bool(options["plan"]) == bool(options["note"]):
            raise CommandError("Give either --plan, a file with the whole plan as YAML, or --note for the coordinator.")
        if options["plan"]:
            replan.change(swarm, options["plan"], by=None)
        else:
            replan.ask(swarm, options["note"], by=None)

    def _show(self, swarm: Swarm) -> None:
        swarm.refresh_from_db()
        self.stdout.write(f"{swarm} ({swarm.pk}): {swarm.state}" + (f", {swarm.because}" if swarm.because else ""))
        for node in swarm.nodes.order_by("key"):
            self.stdout.write(f"  {node.key:<24} {node.state:<18} {node.because}".rstrip())
        for asked in swarm.approvals.filter(state="pending").order_by("requested_at"):
            self.stdout.write(f"  waits for approval: {asked.title}")


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
