"""manage.py project {list,archive,restore} [textkit] --team acme"""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from sessions.team_command import TeamCommand
from swarms import projects
from swarms.models import Project
from swarms.terminal import plain

VERBS = {"archive": projects.archive, "restore": projects.restore}


class Command(TeamCommand):
    subject, called = "project", "the short name of a project, e.g. textkit"
    help = "Lists a team's projects, archives one, or restores it. What happened in it stays."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What to do, with which project, and why."""
        super().add_arguments(parser)
        parser.add_argument("verb", choices=["list", *VERBS])
        parser.add_argument("project", nargs="?", default="", help="Its short name, e.g. textkit")
        parser.add_argument("--because", default="", help="Why, for those who look at it later")

    def show(self, options: dict[str, Any]) -> None:
        """See TeamCommand."""
        found = Project.objects.order_by("slug")
        for one in found:
            self.stdout.write(plain(f"{one.slug}  {one.state}  {one.last_number} goals  {one.because}").rstrip())
        if not found:
            self.stdout.write("There are no projects.")

    def carry_out(self, verb: str, subject: str, options: dict[str, Any]) -> str:
        """See TeamCommand."""
        found = Project.objects.filter(slug=subject).first()
        if found is None:
            known = ", ".join(Project.objects.order_by("slug").values_list("slug", flat=True)[:40]) or "none"
            raise CommandError(f"The team has no project {subject}. Its projects: {known}.")
        VERBS[verb](found, by=None, because=options["because"])
        found.refresh_from_db()
        return plain(f"{found.slug}: {found.because}")
