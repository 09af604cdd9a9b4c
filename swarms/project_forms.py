"""What people change of a project that is there."""

from collections.abc import Iterable, Mapping
from typing import Any, Self

from django import forms
from django.core.exceptions import ValidationError

from swarms.forms import ProjectForm
from swarms.models import Project

POLICIES = ("approve_plan", "approve_landing", "four_eyes")
"""Fields of a project that only who decides approvals may change."""
FIXED = {"target_branch": "The branch stays once the repository was copied: commits of its swarms grow on it."}
"""Why a field is not there that a new project has."""


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
        for field in () if may_decide else [self.fields[name] for name in POLICIES]:
            field.disabled, field.help_text = True, "Changed only by members who may decide approvals."

    @classmethod
    def as_typed(cls, project: Project, given: Mapping[str, Any], *, may_decide: bool) -> Self:
        """The form as if these fields had been filled in anew, and the others left as they are.

        Raises ValidationError for fields that cannot be changed.
        """
        shown = cls(instance=project, may_decide=may_decide)
        if fixed := {name: FIXED[name] for name in given if name not in shown.fields}:
            raise ValidationError(fixed)
        typed = {name: shown.get_initial_for_field(field, name) for name, field in shown.fields.items()}
        return cls({**typed, **given}, instance=project, may_decide=may_decide)

    def clean_source(self) -> str:
        """The address; what it was where nothing was given."""
        return str(self.cleaned_data["source"] or self.instance.source)


def _number(label: str, least: int, most: int, help_text: str) -> forms.IntegerField:
    return forms.IntegerField(label=label, min_value=least, max_value=most, help_text=help_text)


class LimitsForm(forms.ModelForm):
    """How long, how often and how much in a project."""

    attempt_minutes = _number("Minutes an attempt", 1, 1440, "The longest that one attempt may take.")
    attempt_calls = _number("Model calls an attempt", 1, 1000, "An agent that has not finished by then has failed.")
    stall_minutes = _number(
        "Minutes without progress", 0, 1440, "After so long without a message, tool call or token it ends. 0: never."
    )
    start_minutes = _number(
        "Minutes until a start", 0, 1440, "A node that no runner takes for so long fails. 0: it waits for ever."
    )
    max_attempts = _number("Attempts a node", 1, 20, "For nodes of plans that are approved from now on.")
    max_nodes = _number("Nodes a plan", 1, 5000, "A larger plan is sent back.")
    max_depth = _number("Plans in plans", 0, 5, "How deep plans may nest. 0: not at all.")

    class Meta:
        model = Project
        fields = (
            *("attempt_minutes", "attempt_calls", "stall_minutes", "start_minutes"),
            *("max_attempts", "max_nodes", "max_depth"),
        )


def limits_as_typed(project: Project, given: Mapping[str, Any]) -> LimitsForm:
    """The form of the limits as if these had been filled in anew, and the others left as they are."""
    return LimitsForm({**LimitsForm(instance=project).initial, **given}, instance=project)


def as_lines(checks: Iterable[Mapping[str, Any]]) -> str:
    """Checks as the form takes them: one a line, a name, a colon, the command."""
    return "\n".join(
        check["command"] if check["name"] == check["command"] else f"{check['name']}: {check['command']}"
        for check in checks
    )
