"""manage.py runners"""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.utils import timezone

from tenants.context import PUBLIC, in_schema
from tenants.models import Runner

WORDS = {
    "none": "no sandbox: agents' commands are refused",
    "unconfined": "NO SANDBOX: agents' commands may do all that this runner may (WAGGLE_RUNNER_UNCONFINED)",
}


class Command(BaseCommand):
    help = "List the runners: whose they are, when they were last seen, and what locks in the commands of agents."

    def handle(self, *args: Any, **options: Any) -> None:
        """One line for each."""
        with in_schema(PUBLIC):
            runners = list(Runner.objects.select_related("team").order_by("name"))
        for runner in runners:
            silent = (timezone.now() - runner.seen_at).total_seconds() if runner.seen_at else None
            is_here = bool(runner.channel) and silent is not None and silent < settings.LEASE_SECONDS
            walls = WORDS.get(runner.sandbox, f"sandbox {runner.sandbox or 'unknown'}")
            line = f"{runner.name}  {runner.team or 'platform'}  {'connected' if is_here else 'away'}  {walls}"
            if runner.is_doubled:
                line += "  TWO PROCESSES with one token: each ends what the other does"
            is_bad = runner.sandbox in WORDS or runner.is_doubled
            self.stdout.write(self.style.ERROR(line) if is_bad else line)
