"""manage.py servers {list,add,enrol,quarantine,disable,enable,probe,remove} [URL] --team acme"""

import json
from argparse import ArgumentParser
from collections.abc import Callable
from getpass import getpass
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from agents import servers
from agents.handshake import NoServer
from agents.management.teams import TeamCommand
from agents.models import Server

BECAUSE = "by the command of an operator"
MOVES: dict[str, Callable[..., bool]] = {
    "quarantine": servers.quarantine,
    "enable": servers.quarantine,
    "disable": servers.disable,
}


class Command(TeamCommand):
    subject, called = "url", "the address of the server"
    help = "Lists and changes the agent servers of a team, which were found on the network or given by their address."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What to do, and with which server."""
        super().add_arguments(parser)
        parser.add_argument("verb", choices=["list", "add", "enrol", *MOVES, "probe", "remove"])
        parser.add_argument("url", nargs="?", default="", help="The server's address, e.g. https://gpu1.example:4096")
        parser.add_argument("--name", default="", help="With add: what people call it")
        parser.add_argument("--username", default="", help="With enrol: the server's user name (default: opencode)")
        secret = parser.add_mutually_exclusive_group()
        secret.add_argument("--password-file", type=Path, metavar="FILE", help="With enrol: a file with its password")
        secret.add_argument("--ask-password", action="store_true", help="With enrol: type its password")
        parser.add_argument("--json", action="store_true", help="With list: for programs")

    def carry_out(self, verb: str, subject: str, options: dict[str, Any]) -> str:
        """See TeamCommand."""
        return _do(verb, subject, options)

    def show(self, options: dict[str, Any]) -> None:
        """See TeamCommand."""
        names = ("name", "url", "version", "state", "because", "fault", "latency_ms", "wants_password", "last_seen")
        rows = list(Server.objects.order_by("name", "url").values(*names))
        if options["json"]:
            self.stdout.write(json.dumps(rows, indent=2, default=str))
            return
        for row in rows:
            latency = f"{row['latency_ms']} ms" if row["latency_ms"] is not None else "never answered"
            parts = [row["state"], row["name"], row["url"], row["version"] or "no version", latency]
            self.stdout.write("  ".join([*parts, row["fault"] or row["because"]]))


def _do(verb: str, url: str, options: dict[str, Any]) -> str:
    if verb == "add":
        made = servers.add(url, options["name"])
        return f"{made.name} is added, in quarantine: manage.py servers enrol {made.url}"
    server = Server.objects.filter(url=url.rstrip("/")).first()
    if server is None:
        raise CommandError(f"There is no server at {url}; `servers list` shows all.")
    if verb == "enrol":
        done = servers.enrol(server, because=BECAUSE, username=options["username"], password=_password(options))
        return (
            f"{server.name} is {server.state}." if done else f"{server.name} is {server.state}, and cannot be enrolled."
        )
    if verb == "remove":
        servers.remove(server)
        return f"{server.name} is removed."
    if verb == "probe":
        answer = servers.probe(server)
        if isinstance(answer, NoServer):
            raise CommandError(f"{server.name}: {answer}.")
        return f"{server.name} answers within {answer.latency_ms} ms: {answer.version or 'it wants a password'}"
    done = MOVES[verb](server, because=BECAUSE)
    return f"{server.name} is {server.state}." if done else f"{server.name} stays {server.state}."


def _password(options: dict[str, Any]) -> str:
    if options["ask_password"]:
        return getpass("Password of the server: ")
    if options["password_file"]:
        try:
            return str(options["password_file"].read_text().strip())
        except OSError as error:
            raise CommandError(f"--password-file: {error}") from error
    return ""
