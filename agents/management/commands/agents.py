"""manage.py agents {list,add,change,drain,enable,disable,remove} [NAME] --team acme"""

import json
from argparse import ArgumentParser
from dataclasses import asdict, replace
from typing import Any

from django.core.management.base import CommandError

from agents import placing, registry
from agents.contracts import AGENT_RUNTIMES
from agents.models import Agent
from agents.registry import Terms
from sessions.team_command import TeamCommand

BECAUSE = "by the command of an operator"
STATES = {"drain": registry.drain, "enable": registry.enable, "disable": registry.disable}


class Command(TeamCommand):
    subject, called = "name", "the name of the agent"
    help = "Lists and changes the agents of a team: who takes which roles, and what drives them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What to do, with whom, and the terms of an agent."""
        super().add_arguments(parser)
        parser.add_argument("verb", choices=["list", "add", "change", *STATES, "remove"])
        parser.add_argument("name", nargs="?", default="", help="The agent's name")
        parser.add_argument("--role", action="append", choices=placing.ROLES, help="May be given several times")
        parser.add_argument("--runtime", choices=["default", *AGENT_RUNTIMES], help="default: WAGGLE_RUNTIME")
        parser.add_argument("--model", help="Name of the model; 'default': WAGGLE_MODEL_NAME")
        parser.add_argument("--capacity", help="Executions at once; 'any': as many as the runners have room for")
        parser.add_argument("--runner", help="The only runner on which it works; 'any': any")
        parser.add_argument(
            "--server", help="Address of the enrolled server on which it works; 'any': any; 'none': on its runner"
        )
        parser.add_argument("--skill", action="append", help="A word; may be given several times")
        parser.add_argument("--json", action="store_true", help="With list: for programs")

    def carry_out(self, verb: str, subject: str, options: dict[str, Any]) -> str:
        """See TeamCommand."""
        return _do(verb, subject, options)

    def show(self, options: dict[str, Any]) -> None:
        """See TeamCommand."""
        rows: list[dict[str, Any]] = [
            asdict(Terms.of(agent)) | {"state": agent.state, "because": agent.because, "busy": placing.busy(agent)}
            for agent in Agent.objects.order_by("name")
        ]
        rows += [asdict(terms) | {"state": "default", "because": "", "busy": None} for terms in registry.defaults()]
        if options["json"]:
            self.stdout.write(json.dumps(rows, indent=2))
            return
        for row in rows:
            parts = [row["name"], row["state"], ",".join(row["roles"]), row["runtime"] or "default runtime"]
            parts += [row["model"] or "default model", f"room for {row['capacity'] or 'any number'}"]
            parts += [
                f"on {row['server'] or row['runner'] or 'any runner'}",
                f"knows {','.join(row['skills']) or 'nothing special'}",
            ]
            self.stdout.write("  ".join(parts))


def _do(verb: str, name: str, options: dict[str, Any]) -> str:
    if verb == "add":
        if not options["role"]:
            raise CommandError("Give at least one --role.")
        registry.add(_terms(Terms(name, ()), options))
        return f"{name} is added."
    agent = Agent.objects.filter(name=name).first()
    if agent is None:
        raise CommandError(f"There is no agent {name}; see `agents list`. To change a default, add one of its role.")
    if verb == "change":
        registry.change(agent, _terms(Terms.of(agent), options))
        return f"{name} is changed."
    if verb == "remove":
        registry.remove(agent)
        return f"{name} is removed."
    changed = STATES[verb](agent, because=BECAUSE)
    return f"{name} is {agent.state}." if changed else f"{name} was {agent.state} already."


def _terms(terms: Terms, options: dict[str, Any]) -> Terms:
    """The terms with what the options say otherwise."""
    given: dict[str, Any] = {}
    for field, none in (("runtime", "default"), ("model", "default"), ("runner", "any")):
        if options[field] is not None:
            given[field] = "" if options[field] == none else options[field]
    if options["server"] is not None:
        given["server"] = "" if options["server"] == "none" else options["server"].rstrip("/")
    if options["capacity"] is not None:
        given["capacity"] = _capacity(options["capacity"])
    if options["role"]:
        given["roles"] = options["role"]
    if options["skill"]:
        given["skills"] = options["skill"]
    return replace(terms, **given)


def _capacity(text: str) -> int | None:
    if text == "any":
        return None
    if not text.isdecimal():
        raise CommandError(f"--capacity {text}: give a number, or 'any'.")
    return int(text)
