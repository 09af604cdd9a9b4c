"""Secrets at rest: read again only where they were put, with keys that can be changed."""

import base64
import os
from io import StringIO
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import Model

from agents.models import Provider, Server
from config.env import encryption_keys
from sessions.models import Webhook
from tenants.context import in_schema
from tenants.models import Team
from tenants.secrets import CannotUnseal, is_current, seal, sealed_fields, unseal
from tests.conftest import user_of

SECRET = "whsec_zebrafish"


def hook(team: str = "acme", secret: str = SECRET) -> Webhook:
    row = Webhook(name="x", url="https://hooks.example/", position=0, created_by=user_of("alice", team))
    row.secret = seal(secret, row, "secret")
    row.save(force_insert=True)
    return row


def test_what_was_sealed_is_read_again_and_nowhere_to_be_seen(team: Team) -> None:
    row = hook()
    assert unseal(Webhook.objects.get(pk=row.pk), "secret") == SECRET
    assert unseal(row, "old_secret") == ""
    with connection.cursor() as cursor:
        cursor.execute("SELECT w::text FROM agent_sessions_webhook w")
        assert "zebrafish" not in str(cursor.fetchall())
    assert seal(SECRET, row, "secret") != row.secret, "the same secret must not look the same twice"


def test_a_secret_cannot_be_read_in_another_row_field_or_team(team: Team, globex: Team) -> None:
    mine, other = hook(), hook(secret="whsec_other")
    other.secret = mine.secret
    with pytest.raises(CannotUnseal, match="not what was sealed there"):
        unseal(other, "secret")
    mine.old_secret = mine.secret
    with pytest.raises(CannotUnseal):
        unseal(mine, "old_secret")
    with in_schema(globex.schema_name), pytest.raises(CannotUnseal):
        unseal(mine, "secret")


@pytest.mark.parametrize(("model", "field", "address"), [(Provider, "key", "base_url"), (Server, "password", "url")])
def test_a_secret_that_is_sent_somewhere_is_bound_to_that_address(
    team: Team, model: type[Model], field: str, address: str
) -> None:
    row = model(**{address: "https://here.example/"})
    setattr(row, field, seal(SECRET, row, field))
    assert unseal(row, field) == SECRET
    setattr(row, address, "https://here.example/ ")
    with pytest.raises(CannotUnseal, match="not what was sealed there"):
        unseal(row, field)


@pytest.mark.parametrize("place", [0, 5, 20, -3])
def test_one_changed_bit_is_seen(team: Team, place: int) -> None:
    row = hook()
    head, _, box = row.secret.rpartition(".")
    raw = bytearray(base64.urlsafe_b64decode(box))
    raw[place] ^= 1
    row.secret = f"{head}.{base64.urlsafe_b64encode(raw).decode()}"
    with pytest.raises(CannotUnseal) as told:
        unseal(row, "secret")
    assert "zebrafish" not in str(told.value)


@pytest.mark.parametrize("broken", ["v1.", "v1.abcd", "v2.abcd.efgh", "plain text", "v1.00000000.AAAA"])
def test_what_is_no_secret_of_ours_is_refused(team: Team, broken: str) -> None:
    row = hook()
    row.secret = broken
    with pytest.raises(CannotUnseal, match="WAGGLE_ENCRYPTION_KEYS"):
        unseal(row, "secret")


def test_keys_are_changed_while_everything_can_be_read(team: Team, globex: Team, settings: Any) -> None:
    (old,), new = settings.ENCRYPTION_KEYS, os.urandom(32)
    row = hook()
    with in_schema(globex.schema_name):
        theirs = hook("globex", "whsec_theirs")
    settings.ENCRYPTION_KEYS = (new, old)
    assert unseal(row, "secret") == SECRET
    assert not is_current(row.secret)
    for told in ("2 secrets are sealed", "0 secrets are sealed"):
        out = StringIO()
        call_command("rotate_secrets", stdout=out)
        assert told in out.getvalue()
    settings.ENCRYPTION_KEYS = (new,)
    row.refresh_from_db()
    assert unseal(row, "secret") == SECRET
    with in_schema(globex.schema_name):
        theirs.refresh_from_db()
        assert unseal(theirs, "secret") == "whsec_theirs"


def test_what_cannot_be_read_is_named_and_left_alone(team: Team, settings: Any) -> None:
    row = hook()
    sealed = row.secret
    settings.ENCRYPTION_KEYS = (os.urandom(32),)
    with pytest.raises(CommandError, match=rf"agent_sessions_webhook.secret of {row.pk}"):
        call_command("rotate_secrets", stdout=StringIO())
    row.refresh_from_db()
    assert row.secret == sealed


def test_the_command_finds_every_column_of_secrets() -> None:
    assert (Webhook, "secret") in sealed_fields()
    assert (Webhook, "old_secret") in sealed_fields()


def test_keys_are_read_from_text_and_a_wrong_one_is_named_without_being_shown() -> None:
    first, second = os.urandom(32), os.urandom(32)
    texts = [base64.urlsafe_b64encode(first).decode().rstrip("="), base64.b64encode(second).decode()]
    assert encryption_keys("NAME", ",".join(texts)) == (first, second)
    assert encryption_keys("NAME", f" {texts[0]}\n{texts[1]} ") == (first, second)
    for wrong in ("hunter2", base64.b64encode(os.urandom(16)).decode(), "ü" * 43):
        with pytest.raises(ImproperlyConfigured, match=r"^NAME: key 2 is not 32 bytes") as told:
            encryption_keys("NAME", f"{texts[0]},{wrong}")
        assert wrong not in str(told.value)
