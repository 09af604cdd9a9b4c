"""Teams, users and their memberships."""

from base64 import b32encode
from typing import Any, ClassVar
from uuid import UUID

from django.contrib.auth.models import AbstractUser, UserManager
from django.db import models
from django_tenants.models import DomainMixin, TenantMixin

from tenants.ids import uuid7
from tenants.roles import Role
from tenants.states import TEAM_MOVES, Moves, TeamState


class People(UserManager["User"]):
    """Users are known by their mail address."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":  # type: ignore[override]
        user = self.model(email=self.normalize_email(email).lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":  # type: ignore[override]
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)


class User(AbstractUser):
    """A person, or an automatic member. Shared by all teams; membership decides what they see.

    Never deleted (rows of teams point here), only deactivated.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    username = None  # type: ignore[assignment]
    first_name = None  # type: ignore[assignment]
    last_name = None  # type: ignore[assignment]
    email = models.EmailField(unique=True, error_messages={"unique": "This mail address has an account already."})
    name = models.CharField(max_length=120, blank=True)

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects = People()  # type: ignore[misc]

    def __str__(self) -> str:
        return self.name or self.email

    def get_full_name(self) -> str:
        return str(self)

    def get_short_name(self) -> str:
        return str(self)


def schema_for(team_id: UUID) -> str:
    """The schema of a team, for ever: its slug may change, this does not."""
    return "t_" + b32encode(team_id.bytes).decode().rstrip("=").lower()


class Team(TenantMixin):
    """A tenant: one schema. Its address is in `Domain`."""

    NOUN = "team"
    MOVES: ClassVar[Moves] = TEAM_MOVES

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=80)
    state = models.CharField(max_length=16, default=TeamState.PROVISIONING, choices=[(s, s) for s in TeamState])
    because = models.TextField(blank=True, help_text="Why it is in this state.")
    step = models.CharField(max_length=120, blank=True, help_text="What provisioning does now.")
    created_at = models.DateTimeField(auto_now_add=True)

    auto_create_schema = False
    auto_drop_schema = False

    def __str__(self) -> str:
        return self.name

    @property
    def slug(self) -> str:
        """The first label of its address."""
        return self.get_primary_domain().slug


class Removal(models.Model):
    """That a team was deleted, or is being: what stays when all else of it is gone. Keys of other tables would not."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    team = models.UUIDField(unique=True)
    schema_name = models.CharField(max_length=63)
    name = models.CharField(max_length=80)
    slug = models.SlugField(max_length=40)
    asked_by = models.CharField(max_length=254, help_text="Mail address of the owner, or the command.")
    asked_at = models.DateTimeField(auto_now_add=True)
    held = models.JSONField(default=dict, help_text="How much there was of what.")
    fault = models.TextField(blank=True, help_text="What the last try met; it is tried again.")
    done_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.name} ({self.slug})"


class Domain(DomainMixin):
    """An address of a team: `<slug>.<WAGGLE_HOST>`, and `/t/<slug>/` for programs."""

    slug = models.SlugField(max_length=40, unique=True)

    def __str__(self) -> str:
        return self.domain


class Membership(models.Model):
    """What a user may do in a team: see tenants.roles."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(User, models.PROTECT, related_name="memberships")
    team = models.ForeignKey(Team, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=[(r, r.label) for r in Role])
    is_automatic = models.BooleanField(default=False, help_text="A program that decides by rule, not a person.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["user", "team"], name="one_membership_per_team")]

    def __str__(self) -> str:
        return f"{self.user} in {self.team} as {self.role}"


class Invitation(models.Model):
    """A link that lets somebody join a team, once."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    team = models.ForeignKey(Team, models.CASCADE, related_name="invitations")
    email = models.EmailField(blank=True, help_text="Empty: whoever has the link.")
    role = models.CharField(max_length=16, choices=[(r, r.label) for r in Role])
    token_hash = models.CharField(max_length=64, unique=True)
    invited_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True)
    accepted_by = models.ForeignKey(User, models.PROTECT, null=True, blank=True, related_name="+")
    revoked_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.email or 'anyone'} to {self.team}"
