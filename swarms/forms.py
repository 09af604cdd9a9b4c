"""What people fill in on the dashboard."""

from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from pydantic import ValidationError as ContractError

from agents.contracts import Check
from swarms import projects
from swarms.models import Project
from swarms.orders import LONGEST_REASON
from swarms.plan_yaml import EXAMPLE, LONGEST
from swarms.replay.bundle import MOST_FILE
from swarms.vertex import MOST_DOLLARS, MOST_PRIORITY

_EXAMPLE_CHECKS = "unit tests: python3 -m unittest\nlint: ruff check ."


class ChecksField(forms.CharField):
    """Checks, one a line: `name: command`. A line without a name is its own name."""

    def __init__(self, **options: Any) -> None:
        widget = forms.Textarea(
            attrs={"rows": 3, "class": "code", "spellcheck": "false", "placeholder": _EXAMPLE_CHECKS}
        )
        super().__init__(widget=widget, required=False, **options)

    def clean(self, value: Any) -> Any:
        if isinstance(value, list):  # of checks, which a program gave
            return value
        text = super().clean(value)
        checks, faults = [], []
        for number, line in enumerate(text.splitlines(), start=1):
            if not line.strip():
                continue
            name, colon, command = f"{line.strip()} ".partition(": ")
            if not colon:
                name = command = line
            try:
                checks.append(Check(name=name.strip()[:80], command=command.strip()))
            except ContractError:
                faults.append(f"Line {number} names no command. Write it like this: unit tests: python3 -m unittest")
        if faults:
            raise ValidationError(faults)
        return checks


class ProjectForm(forms.ModelForm):
    """A repository with its checks and policies."""

    checks = ChecksField(
        label="Checks",
        help_text="Commands that must pass on every merged tree, one a line: a name, a colon, the command.",
    )
    acceptance = ChecksField(
        label="Acceptance checks",
        help_text="Commands that must pass on the whole result before it lands. Written like the checks.",
    )

    field_order = ("name", "slug", "source", "target_branch", "checks", "acceptance")

    class Meta:
        model = Project
        # The checks stay out: they become rows of JSON in the verb, not here.
        fields = ("name", "slug", "source", "target_branch", "approve_plan", "approve_landing", "four_eyes")
        labels = {
            "slug": "Short name",
            "source": "Repository",
            "approve_plan": "A person approves each plan",
            "approve_landing": "A person approves each landing",
            "four_eyes": "Four eyes: somebody else decides what a person has asked for",
        }
        error_messages = {
            "slug": {
                "invalid": "Only letters, digits, hyphens and underscores, for example text-kit.",
                "unique": "Another project of the team, perhaps an archived one, has this short name. Choose another.",
            }
        }
        help_texts = {
            "name": "For people, for example: Text kit.",
            "slug": "For addresses: lower-case letters, digits and hyphens, for example text-kit.",
            "source": "A git URL, for example https://git.example/team/textkit.git.",
            "target_branch": "Where finished work lands.",
            "approve_plan": "",
            "approve_landing": "",
            "four_eyes": "Approvals of a goal are not for who stated it, or gave the plan. For teams of two or more.",
        }

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if settings.LOCAL_SOURCES and "source" in self.fields:
            self.fields["source"].help_text += " Or the path of a folder on this server: /home/ana/textkit."

    def clean_slug(self) -> str:
        slug: str = self.cleaned_data["slug"].lower()
        if slug == "new":
            raise ValidationError("'new' is an address of its own. Choose another short name.")
        return slug

    def clean(self) -> dict[str, Any]:
        """All that is wrong is said at once, also what the verbs refuse."""
        given = super().clean() or self.cleaned_data
        for name, check in (("source", projects.check_source), ("target_branch", projects.check_branch)):
            if name in given and given[name] != getattr(self.instance, name):
                try:
                    check(given[name])
                except ValidationError as error:
                    self.add_error(None, error)
        return given


class GoalForm(forms.Form):
    """What somebody wants of a project."""

    text = forms.CharField(
        label="Goal",
        max_length=20_000,
        widget=forms.Textarea(
            attrs={
                "rows": 4,
                "placeholder": "Add a `stats` command that counts words, sentences and syllables, with tests and docs.",
            }
        ),
        help_text="Say what should be true afterwards. The coordinator plans it; you see the plan before it runs.",
    )


class BecauseForm(forms.Form):
    """Why somebody does something."""

    because = forms.CharField(
        label="Why", required=False, max_length=LONGEST_REASON, help_text="Shown to all who look at it later."
    )


class PlanForm(forms.Form):
    """A plan given by a person."""

    yaml = forms.CharField(
        label="Plan as YAML",
        max_length=LONGEST,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 18, "class": "code", "spellcheck": "false", "placeholder": EXAMPLE}),
        help_text="Each node has key, title, role, instructions, depends_on, writes, checks and risk.",
    )


class ForkForm(PlanForm):
    """What is wanted of a goal that goes on from an event of another swarm."""

    text = forms.CharField(label="Goal", max_length=20_000, widget=forms.Textarea(attrs={"rows": 4}))
    field_order = ("text", "yaml")


class ArchiveForm(forms.Form):
    """A swarm that was exported elsewhere."""

    file = forms.FileField(
        label="File",
        help_text=f"A file that an export gave you, at most {MOST_FILE >> 20} MB. Nothing of it is ever carried out.",
        widget=forms.ClearableFileInput(attrs={"accept": ".zip"}),
    )

    def clean_file(self) -> Any:
        given = self.cleaned_data["file"]
        if given.size > MOST_FILE:
            raise ValidationError(
                f"The file has more than {MOST_FILE >> 20} MB. An operator can import it: manage.py import_swarm."
            )
        return given


class DecisionForm(forms.Form):
    """The answer to an approval."""

    verdict = forms.ChoiceField(choices=[(word, word) for word in ("approve", "swarm", "always", "reject")])
    """swarm and always: of the use of a tool, which is approved for longer than once."""
    because = forms.CharField(
        label="Reason",
        required=False,
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Needed to reject: it goes to those who work on it.",
    )


class PriorityForm(forms.Form):
    """Before or after others."""

    priority = forms.IntegerField(
        label="Priority",
        min_value=-MOST_PRIORITY,
        max_value=MOST_PRIORITY,
        help_text=f"From -{MOST_PRIORITY} to {MOST_PRIORITY}; 0 is usual, and what is higher goes first.",
    )


class DeadlineForm(forms.Form):
    """Until when a swarm must have ended."""

    at = forms.DateTimeField(
        label="Deadline (UTC)",
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        help_text="When it has passed and the swarm has not ended, the swarm fails. Empty: no deadline.",
    )


class BudgetForm(forms.Form):
    """How much may be spent on something."""

    limit = forms.DecimalField(
        label="Limit in dollars",
        required=False,
        min_value=0,
        max_value=MOST_DOLLARS,
        decimal_places=6,
        help_text="The hard line: no model call is made that could cross it. Empty: no limit.",
    )
    soft_percent = forms.IntegerField(
        label="Ask a person at (percent)",
        min_value=1,
        max_value=100,
        initial=80,
        help_text="The soft line: when so much of the limit is spent, an approval asks once for more. Work goes on.",
    )


class WebhookForm(forms.Form):
    """Where events are sent on, and which ones."""

    name = forms.CharField(label="Name", max_length=80, help_text="What receives it, for example: chat of the team.")
    url = forms.CharField(
        label="Address",
        max_length=500,
        widget=forms.URLInput(attrs={"spellcheck": "false", "placeholder": "https://example.org/hook"}),
    )
    kinds = forms.CharField(
        label="Kinds of events",
        max_length=2000,
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "class": "code", "spellcheck": "false"}),
        help_text="Kinds, or beginnings that end with a dot, with spaces or commas between: swarm. approval.asked. "
        "Empty: all kinds, also each step of each session.",
    )
    projects = forms.MultipleChoiceField(
        label="Projects",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="None chosen: all projects, and what belongs to the team itself.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        projects = Project.objects.order_by("name").values_list("pk", "name")
        self.fields["projects"].choices = [(str(pk), name) for pk, name in projects]  # type: ignore[attr-defined]
        if not projects:
            self.fields["projects"].help_text = "There are none yet: it gets what happens in all that come."

    def clean_kinds(self) -> list[str]:
        return list(dict.fromkeys(self.cleaned_data["kinds"].replace(",", " ").split()))

    def refuse(self, error: ValidationError) -> None:
        """Say at its field what the platform does not take."""
        faults = error.message_dict if hasattr(error, "error_dict") else {None: error.messages}
        for field, texts in faults.items():
            for text in texts:
                self.add_error(field, text)


class RemovalForm(forms.Form):
    """Deleting a team: its address, typed."""

    address = forms.CharField(label="The team's address")

    def __init__(self, *args: Any, address: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self._address = address
        self.fields["address"].widget.attrs |= {"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}
        self.fields["address"].help_text = f"Type {address} to confirm."

    def clean_address(self) -> str:
        """Raises ValidationError unless it is the team's."""
        if self.cleaned_data["address"] != self._address:
            raise ValidationError(f"This is not the team's address. It is {self._address}.")
        return self._address
