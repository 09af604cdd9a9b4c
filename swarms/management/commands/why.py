"""`manage.py why <node>`: what a node waits for."""

import json
from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from swarms import conditions
from swarms.models import Node
from swarms.reasons import RULES
from swarms.states import NODE_ENDED
from tenants.context import each_team, in_schema
from tenants.models import Team


class Command(BaseCommand):
    help = "Say why a node does not run: each unmet condition, since when, and what would resolve it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which node."""
        parser.add_argument("node", help="Its id, or <project>#<number>/<key>, e.g. textkit#1/words.")
        parser.add_argument("--team", help="Address of the team; needed where several teams have such a project.")
        parser.add_argument("--json", action="store_true", help="For programs.")

    def handle(self, *args: Any, node: str, team: str | None, **options: Any) -> None:
        """Look, and print. Raises CommandError when there is no such node, or more than one."""
        found = [(schema, pk) for schema in _schemas(team) for pk in _find(schema, node)]
        if not found:
            raise CommandError(f"No node '{node}'. Give its id, or <project>#<number>/<key>, e.g. textkit#1/words.")
        if len(found) > 1:
            raise CommandError(f"{len(found)} teams have a node '{node}': name one with --team.")
        schema, pk = found[0]
        with in_schema(schema):
            one = Node.objects.select_related("swarm__project").get(pk=pk)
            reasons = conditions.of_node(one)
        if options["json"]:
            self.stdout.write(json.dumps(_facts(one, reasons), indent=2, default=str))
            return
        self.stdout.write(f"{one.swarm} / {one.key} is {one.state}: {one.because or 'no reason given'}")
        for why in reasons:
            since = f" (since {why.since:%Y-%m-%d %H:%M:%S} UTC)" if why.since else ""
            self.stdout.write(f"- {why.text}{since}. {why.remedy}")
        if not reasons:
            self.stdout.write(_rest(one))


def _schemas(team: str | None) -> list[str]:
    if team is None:
        return list(each_team())
    found = Team.objects.filter(domains__slug=team).values_list("schema_name", flat=True).first()
    if found is None:
        raise CommandError(f"No team has the address '{team}'.")
    return [found]


def _find(schema: str, name: str) -> list[UUID]:
    with in_schema(schema):
        try:
            return list(Node.objects.filter(pk=UUID(name)).values_list("pk", flat=True))
        except ValueError:
            pass  # not an id
        swarm, _, key = name.partition("/")
        slug, _, number = swarm.partition("#")
        if not (key and number.isascii() and number.isdigit()):
            return []
        wanted = Node.objects.filter(swarm__project__slug=slug, swarm__number=number, key=key)
        return list(wanted.values_list("pk", flat=True))


def _rest(node: Node) -> str:
    if node.state not in NODE_ENDED:
        return "It waits for nothing: it is being worked on."
    last = node.attempts.exclude(reason="").order_by("-number").first()
    if node.state == "failed" and last and last.reason in RULES:
        return f"It has ended. {RULES[last.reason].meaning} {RULES[last.reason].remedy}"
    return "It has ended."


def _facts(node: Node, reasons: list[Any]) -> dict[str, Any]:
    return {
        "node": str(node.pk),
        "key": node.key,
        "swarm": str(node.swarm),
        "state": node.state,
        "because": node.because,
        "unmet": [{"kind": w.kind, "text": w.text, "since": w.since, "remedy": w.remedy} for w in reasons],
    }
