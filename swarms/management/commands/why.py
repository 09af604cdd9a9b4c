"""`manage.py why <node>`, or `<swarm>`: what it waits for."""

import json
from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from swarms import conditions, naming
from swarms.models import Node, Swarm
from swarms.reasons import RULES
from swarms.states import NODE_ENDED
from swarms.terminal import plain
from tenants.context import each_team, in_schema


class Command(BaseCommand):
    help = "Say why a node, or a swarm, does not go on: each unmet condition, since when, and what would resolve it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which node, or swarm."""
        parser.add_argument(
            "node", help="Its id, or <project>#<number>/<key>, e.g. textkit#1/words. Without a key: the swarm itself."
        )
        parser.add_argument("--team", help="Address of the team; needed where several teams have such a project.")
        parser.add_argument("--json", action="store_true", help="For programs.")

    def handle(self, *args: Any, node: str, team: str | None, **options: Any) -> None:
        """Look, and print. Raises CommandError when there is no such node, or more than one."""
        found = [(schema, one) for schema in _schemas(team) for one in _find(schema, node)]
        if not found:
            raise CommandError(f"No node '{node}'. Give its id, or <project>#<number>/<key>, e.g. textkit#1/words.")
        if len(found) > 1:
            raise CommandError(f"{len(found)} teams have a node '{node}': name one with --team.")
        schema, one = found[0]
        with in_schema(schema):
            reasons = conditions.of_node(one) if isinstance(one, Node) else conditions.of_swarm(one)
            rest = _rest(one)
        if options["json"]:
            self.stdout.write(json.dumps(_facts(one, reasons), indent=2, default=str))
            return
        name = f"{one.swarm} / {one.key}" if isinstance(one, Node) else str(one)
        self.stdout.write(plain(f"{name} is {one.state}: {one.because or 'no reason given'}"))
        for why in reasons:
            since = f" (since {why.since:%Y-%m-%d %H:%M:%S} UTC)" if why.since else ""
            self.stdout.write(plain(f"- {why.text}{since}. {why.remedy}"))
        if not reasons:
            self.stdout.write(plain(rest))


def _schemas(team: str | None) -> list[str]:
    if team is None:
        return list(each_team())
    try:
        return [naming.schema_of(team)]
    except naming.NoSuch as error:
        raise CommandError(str(error)) from error


def _find(schema: str, name: str) -> list[Node | Swarm]:
    nodes, swarms = Node.objects.select_related("swarm__project"), Swarm.objects.select_related("project")
    said = naming.parts(name)
    with in_schema(schema):
        if said and said.number is not None:
            found = swarms.filter(project__slug=said.slug, number=said.number)
            return list(nodes.filter(swarm__in=found, key=said.key)) if said.key else list(found)
        try:
            pk = UUID(name)
        except ValueError:
            return []
        return [*nodes.filter(pk=pk), *swarms.filter(pk=pk)]


def _rest(one: Node | Swarm) -> str:
    if isinstance(one, Swarm):
        return "It has ended." if one.is_ended else "It waits for nothing but its nodes: ask for one of them."
    if one.state not in NODE_ENDED:
        return "It waits for nothing: it is being worked on."
    last = one.attempts.exclude(reason="").order_by("-number").first()
    if one.state == "failed" and last and last.reason in RULES:
        return f"It has ended. {RULES[last.reason].meaning} {RULES[last.reason].remedy}"
    return "It has ended."


def _facts(one: Node | Swarm, reasons: list[Any]) -> dict[str, Any]:
    which = {"node": str(one.pk), "key": one.key, "swarm": str(one.swarm)} if isinstance(one, Node) else {}
    return (which or {"swarm": str(one), "id": str(one.pk)}) | {
        "state": one.state,
        "because": one.because,
        "unmet": [{"kind": w.kind, "text": w.text, "since": w.since, "remedy": w.remedy} for w in reasons],
    }
