"""New people and new teams."""

from uuid import UUID

import structlog
from django.db import IntegrityError, transaction

from tenants import addresses, provisioning
from tenants.context import PUBLIC, in_schema
from tenants.hosts import domain_for
from tenants.ids import uuid7
from tenants.members import add_member
from tenants.messages import send_on_commit
from tenants.models import Domain, Team, User
from tenants.models.people import schema_for
from tenants.roles import Role

logger = structlog.get_logger(__name__)


class AddressTaken(ValueError):
    """Another team has this address."""


class MailTaken(ValueError):
    """There is an account with this mail address already."""


def is_taken(slug: str) -> bool:
    """Whether a team has this address."""
    return Domain.objects.filter(slug=slug).exists()


def new_user(*, email: str, password: str | None, name: str) -> User:
    """A new account; without a password, it signs in by links only. Raises MailTaken."""
    try:
        with transaction.atomic():
            return User.objects.create_user(email, password, name=name)
    except IntegrityError as error:
        raise MailTaken("This mail address has an account already.") from error


def new_team(*, name: str, slug: str, owner: User) -> Team:
    """A team with its address and owner; its schema is still to be made. Raises AddressTaken, ValueError."""
    if fault := addresses.problem(slug):
        raise ValueError(fault)
    team_id = uuid7()
    try:
        with in_schema(PUBLIC), transaction.atomic():
            team = Team.objects.create(id=team_id, schema_name=schema_for(team_id), name=name)
            Domain.objects.create(tenant=team, slug=slug, domain=domain_for(slug), is_primary=True)
            add_member(team, owner, Role.OWNER)
    except IntegrityError as error:
        raise AddressTaken(f"The address {slug} is taken.") from error
    logger.info("team signed up", team=team.schema_name, slug=slug)
    return team


def sign_up_team(*, name: str, slug: str, owner: User) -> Team:
    """`new_team`, and a worker is asked to make its schema once the transaction commits."""
    with in_schema(PUBLIC), transaction.atomic():
        team = new_team(name=name, slug=slug, owner=owner)
        send_on_commit("provision", str(team.pk))
    return team


def ask_again(team_id: UUID) -> None:
    """Ask a worker once more. Building twice changes nothing."""
    with in_schema(PUBLIC):
        send_on_commit("provision", str(team_id))


def make_team(*, name: str, slug: str, owner: User) -> Team:
    """The team with this address, ready to use: made and provisioned here and now, unless it is there already.

    Raises ValueError for a bad address, and whatever provisioning raises.
    """
    with in_schema(PUBLIC):
        known = Domain.objects.select_related("tenant").filter(slug=slug).first()
        team = known.tenant if known else new_team(name=name, slug=slug, owner=owner)
        if known:
            add_member(team, owner, Role.OWNER)
        provisioning.retry(team)
        provisioning.build(team, wait=True)
        team.refresh_from_db()
        return team
