"""Secrets that must be read again, encrypted at rest and bound to their row.

AES-256-GCM. What is bound is schema, table, primary key and field: copied into another row, column or team, a secret
can no longer be read. A field may name others that are bound as well, such as the address that a password is for: when
one of them is changed, the secret cannot be read until it is given anew. Keys come from WAGGLE_ENCRYPTION_KEYS: the
first one seals, all of them unseal, so that they can be changed while everything runs (`manage.py rotate_secrets`).
"""

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Sequence
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.apps import apps
from django.conf import settings
from django.db import models

from tenants.context import PUBLIC, current_schema

VERSION = "v1"
_NONCE = 12


class CannotUnseal(Exception):
    """A secret cannot be read here; the text says why, and never what it is."""


class SealedField(models.TextField):
    """A secret as `seal` has made it; empty: there is none."""

    def __init__(self, *args: Any, goes_with: Sequence[str] = (), **options: Any) -> None:
        """`goes_with`: fields of its row that it is bound to."""
        super().__init__(*args, **options)
        self.goes_with = tuple(goes_with)

    def deconstruct(self) -> Any:
        """For migrations: what is bound is part of what lies in the column."""
        name, path, args, options = super().deconstruct()
        return name, path, args, options | ({"goes_with": self.goes_with} if self.goes_with else {})


def seal(text: str, row: models.Model, field: str) -> str:
    """The secret, to be kept in this field of this row of the current team. The row must have its primary key."""
    nonce = os.urandom(_NONCE)
    key = _keys()[0]
    box = nonce + AESGCM(key).encrypt(nonce, text.encode(), _place(row, field))
    return f"{VERSION}.{_name(key)}.{base64.urlsafe_b64encode(box).decode()}"


def unseal(row: models.Model, field: str) -> str:
    """The secret of a field; empty when there is none. Raises CannotUnseal."""
    sealed = str(getattr(row, field))
    if not sealed:
        return ""
    version, _, rest = sealed.partition(".")
    name, _, box = rest.partition(".")
    where = f"{row._meta.db_table}.{field} of {row.pk}"
    key = next((key for key in _keys() if _name(key) == name), None)
    if version != VERSION or key is None:
        raise CannotUnseal(f"{where} was sealed with the key {name!r}, which WAGGLE_ENCRYPTION_KEYS does not have.")
    try:
        raw = base64.urlsafe_b64decode(box)
        return AESGCM(key).decrypt(raw[:_NONCE], raw[_NONCE:], _place(row, field)).decode()
    except (InvalidTag, ValueError, binascii.Error) as error:
        raise CannotUnseal(f"{where} is not what was sealed there.") from error


def is_current(sealed: str) -> bool:
    """Whether a secret is sealed with the first key."""
    return sealed.startswith(f"{VERSION}.{_name(_keys()[0])}.")


def sealed_fields() -> list[tuple[type[models.Model], str]]:
    """Every column that holds secrets."""
    return [
        (model, field.name)
        for model in apps.get_models()
        for field in model._meta.local_fields
        if isinstance(field, SealedField)
    ]


def goes_with(model: type[models.Model], field: str) -> tuple[str, ...]:
    """The fields of its row that a secret is bound to."""
    found = model._meta.get_field(field)
    return found.goes_with if isinstance(found, SealedField) else ()


def is_shared(model: type[models.Model]) -> bool:
    """Whether its table is in `public`, not in each team's schema."""
    config = apps.get_app_config(model._meta.app_label)
    return config.name not in settings.TENANT_APPS


def _place(row: models.Model, field: str) -> bytes:
    schema = PUBLIC if is_shared(type(row)) else current_schema()
    place = f"{schema}|{row._meta.db_table}|{row.pk}|{field}"
    with_it = [str(getattr(row, name)) for name in goes_with(type(row), field)]
    return (f"{place}|{json.dumps(with_it)}" if with_it else place).encode()


def _keys() -> Sequence[bytes]:
    keys: Sequence[bytes] = settings.ENCRYPTION_KEYS
    return keys


def _name(key: bytes) -> str:
    """What a key is called beside what it has sealed: nothing can be learnt from it."""
    return hashlib.sha256(b"waggle key " + key).hexdigest()[:8]
