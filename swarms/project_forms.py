"""What people change of a project that is there."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.forms import BooleanField

from swarms.forms import ProjectForm


class ProjectChangeForm(ProjectForm):
    """All that can be changed of a project; its policies only by who decides approvals (`may_decide`)."""

    def __init__(self, *args: Any, may_decide: bool, **options: Any) -> None:
        super().__init__(*args, **options)
        project = self.instance
        del self.fields["slug"]  # addresses lead to it
        for name in ("checks", "acceptance"):
            self.initial[name] = as_lines(getattr(project, name))
        source = self.fields["source"]
        if project.shown_source != project.source:  # the address holds a secret
            self.initial["source"], source.required = "", False
            source.help_text = f"Empty: it stays {project.shown_source}."
        if project.head:  # commits of its swarms grow on this branch
            del self.fields["target_branch"]
        policies = [field for field in self.fields.values() if isinstance(field, BooleanField)]
        for field in () if may_decide else policies:
            field.disabled, field.help_text = True, "Changed only by members who may decide approvals."

    def clean_source(self) -> str:
        """The address; what it was where nothing was given."""
        return str(self.cleaned_data["source"] or self.instance.source)


def as_lines(checks: Iterable[Mapping[str, Any]]) -> str:
    """Checks as the form takes them: one a line, a name, a colon, the command."""
    return "\n".join(
        check["command"] if check["name"] == check["command"] else f"{check['name']}: {check['command']}"
        for check in checks
    )
