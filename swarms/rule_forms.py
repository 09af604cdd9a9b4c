"""What people fill in about the rules for agents' tools."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

ROLES = ("coordinator", "developer", "writer", "reviewer")
TOOLS = "read, list, search, edit, shell, web, delegate, stuck"
_ANY = [("", "any role"), *((role, role) for role in ROLES)]


class ArgumentsField(forms.CharField):
    """Named arguments, one a line: `name: value`."""

    def __init__(self, **options: Any) -> None:
        widget = forms.Textarea(
            attrs={"rows": 2, "class": "code", "spellcheck": "false", "placeholder": "path: docs/**"}
        )
        super().__init__(widget=widget, required=False, max_length=20_000, **options)

    def clean(self, value: Any) -> Any:
        found: dict[str, str] = {}
        for number, line in enumerate(super().clean(value).splitlines(), start=1):
            name, colon, pattern = line.strip().partition(":")
            if not line.strip():
                continue
            if not colon or not name.strip() or not pattern.strip():
                raise ValidationError(f"Line {number} is no argument. Write it like this: path: docs/**")
            if name.strip() in found:
                raise ValidationError(f"Line {number} names {name.strip()} once more. Make a rule for each pattern.")
            found[name.strip()] = pattern.strip()
        return found


class RuleForm(forms.Form):
    """A new rule."""

    verdict = forms.ChoiceField(
        label="Verdict",
        choices=[("allow", "Allow"), ("ask", "Ask a person"), ("deny", "Deny")],
        widget=forms.RadioSelect,
        initial="ask",
    )
    tool = forms.CharField(
        label="Tool",
        max_length=80,
        widget=forms.TextInput(attrs={"spellcheck": "false", "placeholder": "shell"}),
        help_text=f"One of {TOOLS}, or the own name of another one; * stands for any letters.",
    )
    arguments = ArgumentsField(
        label="Only with these arguments",
        help_text="One a line. In a path, ** is any number of folders. In a command, * is anything; what is allowed"
        " must be one plain command, and to allow every command name none.",
    )
    role = forms.ChoiceField(label="Only for agents of a role", choices=_ANY, required=False)
    sandboxed = forms.BooleanField(label="Only where commands are locked in", required=False)
    why = forms.CharField(
        label="Why", max_length=500, required=False, help_text="The agent is told, and whoever reads the rules later."
    )
    last = forms.ChoiceField(
        label="Place",
        choices=[("", "Before all other rules"), ("last", "After them, before the built-in ones")],
        widget=forms.RadioSelect,
        required=False,
    )

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        if given.get("sandboxed") and given.get("verdict") != "allow":
            self.add_error("sandboxed", "Only what is allowed can depend on this.")
        return given | {"last": given.get("last") == "last"}


class TryForm(forms.Form):
    """A call, to see what would be decided of it."""

    tool = forms.CharField(
        label="Tool", max_length=80, widget=forms.TextInput(attrs={"spellcheck": "false", "placeholder": "shell"})
    )
    arguments = ArgumentsField(label="Arguments", help_text="One a line, for example: command: git push origin main")
    role = forms.ChoiceField(label="Agent's role", choices=_ANY[1:], initial="developer")


class ExposureForm(forms.Form):
    """What a project's agents are exposed to."""

    untrusted_input = forms.BooleanField(
        label="Strangers may write what its agents read: issues, mails, web pages", required=False
    )
    has_secrets = forms.BooleanField(label="What its agents see holds secrets or private data", required=False)
