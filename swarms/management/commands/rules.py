"""manage.py rules {list,add,revoke,up,down,try} [TOOL or ID] --team acme"""

import json
from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django import forms
from django.core.management.base import CommandError

from sessions.team_command import TeamCommand
from swarms import rulebook, toolrules
from swarms.models import Project, ToolRule
from swarms.policy.rules import DEFAULTS
from swarms.rule_forms import ROLES, RuleForm, TryForm
from tenants.context import current_schema
from tenants.models import Membership, User
from tenants.roles import Permission, may


class Command(TeamCommand):
    subject, called = "what", "a tool, or the id of a rule"
    help = "Lists, makes, moves and revokes a team's rules for its agents' tools, and tells what they would decide."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What to do, with which rule, and what a new one says."""
        super().add_arguments(parser)
        parser.add_argument("verb", choices=["list", "add", "revoke", "up", "down", "try"])
        parser.add_argument("what", nargs="?", default="", help="With add and try: the tool; else the id of a rule")
        parser.add_argument("--by", default="", metavar="ADDRESS", help="The member who changes it: an owner or admin")
        parser.add_argument("--project", default="", metavar="SLUG", help="Only in this project; else in all")
        parser.add_argument("--verdict", choices=["allow", "ask", "deny"], default="ask", help="With add")
        parser.add_argument("--argument", action="append", default=[], metavar="'NAME: PATTERN'", help="Several times")
        parser.add_argument("--role", choices=ROLES, default="", help="Only for agents of this role")
        parser.add_argument("--sandboxed", action="store_true", help="With add: only where commands are locked in")
        parser.add_argument("--why", default="", help="With add: the agent is told")
        parser.add_argument("--last", action="store_true", help="With add: after all other rules, not before them")
        parser.add_argument("--json", action="store_true", help="With list: for programs")

    def show(self, options: dict[str, Any]) -> None:
        """See TeamCommand."""
        found = rulebook.of_project(_project(options["project"])).exclude(life="once")
        rows = [
            {
                "id": str(rule.pk),
                "verdict": rule.verdict,
                "tool": rule.tool,
                "arguments": rule.arguments,
                "role": rule.role,
                "project": rule.project.slug if rule.project else "",
                "sandboxed": rule.sandboxed,
                "life": rule.life,
                "by": rule.made_by.email,
                "why": rule.why,
            }
            for rule in found.select_related("project", "made_by")
        ]
        if options["json"]:
            self.stdout.write(json.dumps(rows, indent=2))
            return
        for row in rows:
            parts = [row["id"], row["verdict"], row["tool"], _said(row["arguments"]) or "any arguments"]
            parts += [row["role"] or "any role", row["project"] or "all projects"]
            parts += ["locked in"] if row["sandboxed"] else []
            self.stdout.write("  ".join([*parts, f"by {row['by']}", row["why"]]).rstrip())
        self.stdout.write(f"Then {len(DEFAULTS)} built-in rules; all else is denied.")

    def carry_out(self, verb: str, subject: str, options: dict[str, Any]) -> str:
        """See TeamCommand."""
        project = _project(options["project"])
        if verb == "try":
            given = _cleaned(TryForm, subject, options | {"role": options["role"] or "developer"})
            judged = rulebook.try_out(project, given["role"], given["tool"], given["arguments"])
            return f"{judged.verdict}: {judged.rule.why or 'no rule allows it'}"
        by = _member(options["by"])
        if verb == "add":
            place = {"last": "last" if options["last"] else ""}
            made = toolrules.make(by=by, project=project, **_cleaned(RuleForm, subject, options | place))
            return f"{made.pk} holds from the next call on: {made}."
        rule = _rule(subject)
        if verb == "revoke":
            toolrules.revoke(rule, by=by)
            return f"{rule.pk} is revoked."
        among = rulebook.of_project(project or rule.project).exclude(life="once")
        toolrules.shift(rule, up=verb == "up", among=among, by=by)
        return f"{rule.pk} is moved {verb}."


def _cleaned(kind: type[forms.Form], tool: str, options: dict[str, Any]) -> dict[str, Any]:
    """What the page's form makes of it. Raises CommandError."""
    form = kind(options | {"tool": tool, "arguments": "\n".join(options["argument"])})
    if not form.is_valid():
        raise CommandError(" ".join(f"{name}: {' '.join(map(str, said))}" for name, said in form.errors.items()))
    return form.cleaned_data


def _project(slug: str) -> Project | None:
    if not slug:
        return None
    found = Project.objects.filter(slug=slug).first()
    if found is None:
        raise CommandError(f"--project: the team has no project {slug}.")
    return found


def _rule(key: str) -> ToolRule:
    try:
        return ToolRule.objects.select_related("project").get(pk=UUID(key))
    except (ValueError, ToolRule.DoesNotExist):
        raise CommandError(f"There is no rule {key}; `rules list` shows all.") from None


def _member(address: str) -> User:
    """Who changes rules, and may. Raises CommandError."""
    found = Membership.objects.select_related("user").filter(
        user__email__iexact=address, team__schema_name=current_schema()
    )
    if not address or not (member := found.first()):
        raise CommandError(f"--by: the team has no member {address or '(say who)'}.")
    if not may(member.role, Permission.POLICY):
        raise CommandError(f"--by: {address} is {member.role}, and may not change rules.")
    return member.user


def _said(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{name}: {pattern}" for name, pattern in sorted(arguments.items()))
