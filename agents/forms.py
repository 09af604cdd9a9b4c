"""What people fill in about agents and servers."""

from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError

from agents import registry, servers
from agents.contracts import AGENT_RUNTIMES
from agents.models import Agent, Server
from agents.placing import ROLES
from agents.registry import Terms
from agents.server_choice import ANY

UNSANDBOXED = (
    "Their tools run as the owner of the server, with his files, keys and network: nothing locks them in. The team's"
    " rules are asked before each tool, and can be got round by a command."
)


class Refusable(forms.Form):
    """A form whose verb may say no."""

    def refuse(self, error: ValidationError) -> None:
        """Say at its field what the platform does not take."""
        faults = error.message_dict if hasattr(error, "error_dict") else {None: error.messages}
        for field, texts in faults.items():
            for text in texts:
                self.add_error(field, text)


class AgentForm(Refusable):
    """The terms of an agent."""

    name = forms.CharField(
        label="Name", max_length=40, help_text="Its work is shown under this name: careful-developer."
    )
    roles = forms.MultipleChoiceField(
        label="Roles", choices=[(role, role.capitalize()) for role in ROLES], widget=forms.CheckboxSelectMultiple
    )
    runtime = forms.ChoiceField(label="Runtime", required=False, help_text="What drives it.")
    model = forms.CharField(label="Model", max_length=120, required=False, widget=forms.TextInput())
    capacity = forms.IntegerField(
        label="Room",
        required=False,
        min_value=1,
        max_value=registry.MOST_AT_ONCE,
        help_text="How many pieces of work it does at once. Empty: as many as the runners have room for.",
    )
    runner = forms.ChoiceField(label="Runner", required=False, help_text="Where it works.")
    server = forms.ChoiceField(
        label="Server",
        required=False,
        help_text="With the runtime opencode: an enrolled server on which it works, outside of any sandbox.",
    )
    skills = forms.CharField(
        label="Skills",
        max_length=1000,
        required=False,
        help_text="Words, with spaces or commas between: css docs. Work that names one goes to it first.",
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        runtimes = [("", f"As the platform says: {settings.RUNTIME}"), *((name, name) for name in AGENT_RUNTIMES)]
        self.fields["runtime"].choices = runtimes  # type: ignore[attr-defined]
        here = registry.runners()
        kept = self.initial.get("runner") or self.data.get("runner")
        gone = [kept] if kept and kept not in here else []
        runners = [("", "Any"), *((name, name) for name in here), *((name, f"{name} (gone)") for name in gone)]
        self.fields["runner"].choices = runners  # type: ignore[attr-defined]
        servers = [(row.url, f"{row.name} ({row.url})") for row in Server.objects.exclude(roles=[]).order_by("name")]
        kept = self.initial.get("server") or self.data.get("server")
        gone = [kept] if kept and kept not in (ANY, *(url for url, _ in servers)) else []
        servers = [("", "None: on its runner, locked in"), (ANY, "Any that takes its work"), *servers]
        self.fields["server"].choices = [*servers, *((url, f"{url} (takes no work)") for url in gone)]  # type: ignore[attr-defined]
        model = settings.MODEL_NAME or "none is set"
        self.fields["model"].help_text = (
            "In a rehearsal everybody asks the rehearsal."
            if settings.MODEL_REHEARSAL
            else f"As the provider calls it. Empty: the platform's, {model}."
        )

    @staticmethod
    def initial_of(agent: Agent) -> dict[str, Any]:
        """An agent as the form shows it."""
        names = ("name", "roles", "runtime", "model", "capacity", "runner", "server")
        return {name: getattr(agent, name) for name in names} | {"skills": " ".join(agent.skills)}

    def terms(self) -> Terms:
        """What was filled in."""
        given = self.cleaned_data
        skills = tuple(given["skills"].replace(",", " ").split())
        names = ("name", "roles", "runtime", "model", "capacity", "runner", "server")
        return Terms(**{name: given[name] for name in names}, skills=skills)


class WorkForm(Refusable):
    """Which work may be placed on a server."""

    roles = forms.MultipleChoiceField(
        label="Roles",
        required=False,
        choices=[(role, role.capitalize()) for role in ROLES],
        widget=forms.CheckboxSelectMultiple,
        help_text="Agents of these roles may work on it. None: no work is placed on it.",
    )
    capacity = forms.IntegerField(
        label="Room", min_value=1, max_value=servers.MOST_AT_ONCE, help_text="Pieces of work at the same time."
    )
    unsandboxed = forms.BooleanField(
        label="Agents may run there without a sandbox", required=False, help_text=UNSANDBOXED
    )
    takes_untrusted = forms.BooleanField(
        label="Also work that reads what strangers wrote",
        required=False,
        help_text="Who writes what an agent reads may steer it, and there it is not locked in.",
    )

    @staticmethod
    def initial_of(server: Server) -> dict[str, Any]:
        """What a server may do, as the form shows it."""
        names = ("roles", "capacity", "takes_untrusted")
        return {name: getattr(server, name) for name in names} | {"unsandboxed": bool(server.roles)}

    def clean(self) -> dict[str, Any]:
        """Work is placed there only when somebody says that he knows what that means."""
        given = super().clean() or self.cleaned_data
        if given.get("roles") and not given.get("unsandboxed"):
            self.add_error("unsandboxed", "Say that you want this, or choose no role.")
        return given

    def work(self) -> servers.Work:
        """What was filled in."""
        given = self.cleaned_data
        return servers.Work(given["roles"], given["capacity"], given["takes_untrusted"])


class ServerForm(Refusable):
    """A server by its address."""

    url = forms.CharField(
        label="Address",
        max_length=300,
        widget=forms.URLInput(attrs={"spellcheck": "false", "placeholder": "https://gpu1.example:4096"}),
        help_text="Where opencode serve listens, without a path.",
    )
    name = forms.CharField(label="Name", max_length=120, required=False, help_text="Empty: its address.")


def key_field(help_text: str) -> forms.CharField:
    return forms.CharField(
        label="Key",
        max_length=500,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text=help_text,
    )


def serves_field() -> forms.CharField:
    return forms.CharField(
        label="Models",
        max_length=6000,
        widget=forms.TextInput(attrs={"spellcheck": "false", "autocapitalize": "none"}),
        help_text="As the provider calls them, with spaces between. The first is what agents without a model of their "
        "own ask.",
    )


class KeyForm(Refusable):
    """Another key of a provider."""

    key = key_field("It takes the place of the old one at once, and is never shown again.")
    base_url = forms.CharField(
        label="Another address",
        max_length=300,
        required=False,
        help_text="Empty: as before. A key goes to no other address than it was given for.",
    )


class ModelsForm(Refusable):
    """What a provider is asked for."""

    serves = serves_field()


class ProviderForm(Refusable):
    """A provider of models, with the team's key."""

    name = forms.CharField(label="Name", max_length=60, help_text="What you call it.")
    base_url = forms.CharField(
        label="Address",
        max_length=300,
        widget=forms.URLInput(attrs={"spellcheck": "false", "placeholder": "https://api.example/v1"}),
        help_text="Of its OpenAI-compatible API, without chat/completions.",
    )
    serves = serves_field()
    key = key_field("Kept encrypted, read by the model gateway alone, and never shown again.")


class PasswordForm(Refusable):
    """The credentials of a server. They are written, and never shown."""

    username = forms.CharField(label="User name", max_length=80, required=False, help_text="Empty: opencode.")
    password = forms.CharField(
        label="Password",
        max_length=500,
        required=False,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="OPENCODE_SERVER_PASSWORD of the server. Kept encrypted; nobody can read it here again.",
    )
