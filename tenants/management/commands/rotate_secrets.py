"""manage.py rotate_secrets"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import models

from tenants.context import PUBLIC, in_schema
from tenants.models import Team
from tenants.secrets import CannotUnseal, goes_with, is_current, is_shared, seal, sealed_fields, unseal
from tenants.states import TeamState


class Command(BaseCommand):
    help = (
        "Seal every secret with the first of WAGGLE_ENCRYPTION_KEYS: after it the others can be dropped. May run again."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Go through all tables that hold secrets. Raises CommandError when some cannot be read."""
        with in_schema(PUBLIC):
            states = (TeamState.READY, TeamState.SUSPENDED)
            teams = list(Team.objects.filter(state__in=states).values_list("schema_name", flat=True))
        self.faults: list[str] = []
        changed = 0
        for model, field in sealed_fields():
            for schema in [PUBLIC] if is_shared(model) else teams:
                with in_schema(schema):
                    changed += self._rotate(model, field, schema)
        self.stdout.write(f"{changed} secrets are sealed with the first key now.")
        if self.faults:
            raise CommandError("\n".join([*self.faults, "Keep the keys that these were sealed with."]))

    def _rotate(self, model: type[models.Model], field: str, schema: str) -> int:
        changed = 0
        for row in model._default_manager.exclude(**{field: ""}).only(field, *goes_with(model, field)).iterator():
            old = getattr(row, field)
            if is_current(old):
                continue
            try:
                new = seal(unseal(row, field), row, field)
            except CannotUnseal as error:
                self.faults.append(f"{schema}: {error}")
                continue
            # Whoever has set another secret meanwhile has sealed it with the first key.
            changed += model._default_manager.filter(pk=row.pk, **{field: old}).update(**{field: new})
        return changed
