"""manage.py import_opencode ~/.local/share/opencode --team acme --project textkit --dry-run"""

import json
import sys
import time
from argparse import SUPPRESS
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from agents.opencode import locate, wording
from agents.opencode.found import SourceFault
from agents.opencode.importing import Choice, Import
from agents.opencode.mapping import PROGRAM
from agents.opencode.report import Report
from sessions import history
from swarms.models import Project
from tenants.context import in_schema
from tenants.models import Domain

PROGRESS_SECONDS = 2.0


class Command(BaseCommand):
    help = "Takes sessions of a developer's OpenCode over into a project, or out again (--remove): see docs/import.md."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "paths",
            nargs="*",
            type=Path,
            help="OpenCode's data folder, an opencode.db, files of `opencode export`; without: ~/.local/share/opencode",
        )
        parser.add_argument("--team", required=True, help="The team's address, e.g. acme")
        parser.add_argument("--project", required=True, help="The project's short name, e.g. textkit")
        parser.add_argument("--dry-run", action="store_true", help="Only count, write nothing")
        parser.add_argument("--json", action="store_true", help="The report for programs")
        parser.add_argument(
            "--session", nargs="+", action="extend", default=[], metavar="ID", help="Only these sessions: ses_…"
        )
        parser.add_argument("--directory", default="", metavar="DIR", help="Only sessions of this folder and below it")
        parser.add_argument(
            "--remove",
            nargs="?",
            const="",
            default=SUPPRESS,
            metavar="PROJECT",
            help="Delete what was imported from OpenCode; say the project's name once more",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Import or remove, and say what happened. Raises CommandError."""
        domain = Domain.objects.select_related("tenant").filter(slug=options["team"]).first()
        if domain is None:
            raise CommandError(f"--team: there is no team with the address {options['team']}.")
        with in_schema(domain.tenant.schema_name):
            project = Project.objects.filter(slug=options["project"]).first()
            if project is None:
                names = ", ".join(Project.objects.order_by("slug").values_list("slug", flat=True)[:40]) or "none yet"
                raise CommandError(f"--project: the team has no project {options['project']}. Its projects: {names}.")
            if "remove" in options:
                self._remove(project, options)
            else:
                self._import(project, options)

    def _import(self, project: Project, options: dict[str, Any]) -> None:
        choice = Choice(frozenset(options["session"]), _directory(options["directory"]))
        run = Import(project.topic, choice, is_dry=options["dry_run"], progress=self._progress())
        try:
            for path in options["paths"] or [locate.usual()]:
                with locate.stores(path) as stores:
                    for store in stores:
                        run.take(store)
        except SourceFault as fault:
            # What other paths gave is there: it is told before the complaint.
            if run.report.sources:
                self._tell(run.report, options)
            raise CommandError(str(fault)) from fault
        self._tell(run.report, options)
        if missing := choice.sessions - run.looked_at:
            raise CommandError(f"--session: not found: {', '.join(sorted(missing))}.")

    def _tell(self, report: Report, options: dict[str, Any]) -> None:
        if options["json"]:
            self.stdout.write(json.dumps(report.facts(), indent=2))
        else:
            self.stdout.write("\n".join(wording.lines(report)))

    def _progress(self) -> Any:
        told = time.monotonic()

        def tell(report: Report) -> None:
            nonlocal told
            if time.monotonic() - told >= PROGRESS_SECONDS:
                told = time.monotonic()
                self.stderr.write(wording.progress(report))

        return tell

    def _remove(self, project: Project, options: dict[str, Any]) -> None:
        if options["paths"] or options["directory"]:
            raise CommandError("--remove takes no path and no --directory: it deletes what is here, not where it was.")
        keys = options["session"]
        found = history.imported(project.topic, PROGRAM, keys=keys)
        if missing := set(keys) - set(found.values_list("origin__key", flat=True)):
            raise CommandError(f"--session: not imported: {', '.join(sorted(missing))}.")
        count = found.count()
        if not options["dry_run"]:
            self._ask(project, options["remove"], count)
            count = history.remove(project.topic, PROGRAM, keys=keys)
        if options["json"]:
            self.stdout.write(json.dumps({"dry_run": options["dry_run"], "removed": count}))
        else:
            would = "would be " if options["dry_run"] else ""
            self.stdout.write(f"{count} imported session{'' if count == 1 else 's'} of {project.slug} {would}deleted.")

    def _ask(self, project: Project, name: str, count: int) -> None:
        """Deleting wants the project's name a second time."""
        if not name and sys.stdin.isatty():
            name = input(f"Delete {count} sessions imported from OpenCode? Say the project's name ({project.slug}): ")
        if name.strip() != project.slug:
            raise CommandError(f"Nothing was deleted. Say the project's name once more: --remove {project.slug}")


def _directory(given: str) -> str:
    """An absolute folder. It need not be of this machine."""
    if not given or given.startswith(("/", "\\")) or given[1:3] in (":\\", ":/"):
        return given
    return str(Path(given).expanduser().absolute())
