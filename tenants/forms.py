"""Forms of people and teams."""

from typing import Any

from django import forms
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError

from tenants import addresses, signup
from tenants.models import User
from tenants.programs import LONGEST
from tenants.roles import Role


class AccountForm(forms.Form):
    """A new account."""

    name = forms.CharField(
        label="Your name", max_length=120, widget=forms.TextInput(attrs={"autocomplete": "name", "autofocus": True})
    )
    email = forms.EmailField(
        label="Mail address", max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "email"})
    )
    password = forms.CharField(
        label="Password",
        max_length=128,
        strip=False,
        # What was typed stays when another field is wrong.
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}, render_value=True),
        help_text="At least 10 characters; a sentence is fine.",
    )

    def clean_email(self) -> str:
        email = self.cleaned_data["email"].lower()
        if User.objects.filter(email=email).exists():
            raise ValidationError("This mail address has an account already. Sign in instead.")
        return email

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if password := data.get("password"):
            try:
                validate_password(password, User(email=data.get("email", ""), name=data.get("name", "")))
            except ValidationError as error:
                self.add_error("password", error)
        return data


class TeamForm(forms.Form):
    """A new team."""

    team_name = forms.CharField(
        label="Name of the team", max_length=80, widget=forms.TextInput(attrs={"autocomplete": "organization"})
    )
    address = forms.CharField(
        max_length=addresses.LONGEST,
        required=False,
        widget=forms.TextInput(attrs={"autocapitalize": "none", "spellcheck": "false"}),
    )

    def __init__(self, *args: Any, host: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["address"].label = f"Address: <address>.{host}"
        self.fields["address"].help_text = "Small letters, digits, hyphens. Left empty, it follows from the name."

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        name, typed = data.get("team_name", ""), data.get("address", "").strip().lower()
        if not name or "address" in self.errors:
            return data
        slug = typed or addresses.suggest(name, signup.is_taken)
        if fault := addresses.problem(slug):
            self.add_error("address", fault)
        elif signup.is_taken(slug):
            self.refuse_address(slug)
        data["address"] = slug
        return data

    def refuse_address(self, slug: str) -> None:
        """Say that an address is taken, and name a free one."""
        free = addresses.suggest(slug, signup.is_taken)
        self.add_error("address", f"The address {slug} is taken. {free} is free.")


class SignUpForm(AccountForm, TeamForm):
    """A new account and its team at once."""

    field_order = ("name", "email", "password", "team_name", "address")


class SignInForm(forms.Form):
    """Mail address and password."""

    email = forms.EmailField(
        label="Mail address", widget=forms.EmailInput(attrs={"autocomplete": "username", "autofocus": True})
    )
    password = forms.CharField(
        strip=False, max_length=128, widget=forms.PasswordInput(attrs={"autocomplete": "current-password"})
    )
    next = forms.CharField(required=False, widget=forms.HiddenInput)


class InviteForm(forms.Form):
    """Whom to invite, and as what."""

    email = forms.EmailField(
        label="Mail address",
        required=False,
        help_text="Then only this person can use the link. Empty: whoever has it. We send no mail.",
    )
    role = forms.ChoiceField(initial=Role.DEVELOPER)

    def __init__(self, *args: Any, roles: list[Role], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["role"].choices = [(role.value, role.label) for role in roles]  # type: ignore[attr-defined]


class TeamNameForm(forms.Form):
    """The team's name."""

    name = forms.CharField(label="Name of the team", max_length=80)


class ThemeForm(forms.Form):
    """The look of the pages in this browser."""

    theme = forms.ChoiceField(
        label="Look",
        choices=[("auto", "As the system"), ("light", "Light"), ("dark", "Dark")],
        widget=forms.RadioSelect,
    )


class RunnerForm(forms.Form):
    """A runner of a team's own."""

    name = forms.CharField(
        label="Name", max_length=80, help_text="Where it runs, for example: build-server.", widget=forms.TextInput()
    )
    trusted = forms.BooleanField(
        label="It runs checks, too",
        required=False,
        initial=True,
        help_text="The platform believes what its runners say of checks. Say no where others than the team can get at"
        " the machine.",
    )


class ProgramForm(forms.Form):
    """A token for a program of a member."""

    name = forms.CharField(
        label="Name", max_length=60, help_text="What uses it, for example: nightly goals.", widget=forms.TextInput()
    )
    days = forms.IntegerField(label="Days", min_value=1, max_value=LONGEST, initial=90, help_text="So long it works.")
