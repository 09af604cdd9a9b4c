"""manage.py servers {list,add,enrol,password,work,drain,enable,quarantine,disable,probe,remove} [URL] --team acme"""

import json
from argparse import ArgumentParser
from collections.abc import Callable
from getpass import getpass
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from agents import clearing, hosting, servers
from agents.forms import UNSANDBOXED
from agents.handshake import NoServer
from agents.models import Server
from agents.placing import ROLES
from agents.servers import Work
from sessions.team_command import TeamCommand

BECAUSE = "by the command of an operator"
MOVES: dict[str, Callable[..., bool]] = {
    "drain": servers.drain,
    "enable": servers.enable,
    "quarantine": servers.quarantine,
    "disable": servers.disable,
}


class Command(TeamCommand):
    subject, called = "url", "the address of the server"
    help = "Lists and changes the agent servers of a team, which were found on the network or given by their address."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What to do, and with which server."""
        super().add_arguments(parser)
        parser.add_argument("verb", choices=["list", "add", "enrol", "password", "work", *MOVES, "probe", "remove"])
        parser.add_argument("url", nargs="?", default="", help="The server's address, e.g. https://gpu1.example:4096")
        parser.add_argument("--name", default="", help="With add: what people call it")
        parser.add_argument("--username", default="", help="With enrol, or password: its user name (default: opencode)")
        secret = parser.add_mutually_exclusive_group()
        secret.add_argument(
            "--password-file", type=Path, metavar="FILE", help="With enrol, or password: a file with it"
        )
        secret.add_argument("--ask-password", action="store_true", help="With enrol, or password: type it")
        parser.add_argument(
            "--role", action="append", choices=ROLES, help="With work: what it takes; none: no work is placed on it"
        )
        parser.add_argument("--capacity", type=int, default=2, help="With work: executions at once (default: 2)")
        parser.add_argument("--unsandboxed", action="store_true", help=f"With work, needed for it: {UNSANDBOXED}")
        parser.add_argument(
            "--untrusted", action="store_true", help="With work: also such that reads what strangers wrote"
        )
        parser.add_argument("--json", action="store_true", help="With list: for programs")

    def carry_out(self, verb: str, subject: str, options: dict[str, Any]) -> str:
        """See TeamCommand."""
        return _do(verb, subject, options)

    def show(self, options: dict[str, Any]) -> None:
        """See TeamCommand."""
        names = ["name", "url", "version", "state", "because", "fault", "latency_ms", "wants_password", "last_seen"]
        names += ["roles", "capacity", "takes_untrusted", "pk"]
        places, owed = {host.url: host for host in hosting.hosts()}, clearing.owed()
        rows: list[dict[str, Any]] = list(Server.objects.order_by("name", "url").values(*names))
        for row in rows:
            place = places.get(row["url"])
            row |= {"busy": place.busy if place else 0, "runners": place.runners if place else ()}
            left = owed.get(row.pop("pk"))
            row |= {"left": left.count if left else 0, "left_since": left.since if left else None}
        if options["json"]:
            self.stdout.write(json.dumps(rows, indent=2, default=str))
            return
        for row in rows:
            latency = f"{row['latency_ms']} ms" if row["latency_ms"] is not None else "never answered"
            parts = [row["state"], row["name"], row["url"], row["version"] or "no version", latency]
            if row["roles"]:
                parts += [f"takes {','.join(row['roles'])}", f"{row['busy']} of {row['capacity']}"]
                parts += [f"by {','.join(row['runners']) or 'no runner'}"]
            if row["left"]:
                parts.append(f"sessions of ended attempts to be removed: {row['left']}, since {row['left_since']:%c}")
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
    if verb == "password":
        given = _password(options)
        servers.change_password(server, username=options["username"], password=given)
        return f"The password of {server.name} is {'changed' if given else 'forgotten'}."
    if verb == "work":
        return _work(server, options)
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


def _work(server: Server, options: dict[str, Any]) -> str:
    roles = options["role"] or []
    if roles and not options["unsandboxed"]:
        raise CommandError(f"{UNSANDBOXED} Give --unsandboxed if you want that.")
    servers.place(server, Work(roles, options["capacity"], options["untrusted"]))
    if not roles:
        return f"No work is placed on {server.name}."
    drivers = ", ".join(hosting.drivers(server)) or "none that is connected shares its disk"
    return f"{server.name} takes {', '.join(server.roles)}, {server.capacity} at once; runners: {drivers}."


def _password(options: dict[str, Any]) -> str:
    if options["ask_password"]:
        return getpass("Password of the server: ")
    if options["password_file"]:
        try:
            return str(options["password_file"].read_text().strip())
        except OSError as error:
            raise CommandError(f"--password-file: {error}") from error
    return ""
