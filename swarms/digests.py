"""The hash to which an approval is bound. Pure."""

import hashlib
import json
import math
from decimal import Decimal
from typing import Any

_PLAIN = 10**16
"""From here on a float is written with an exponent, and Postgres gives it back as an integer."""


def digest(document: Any) -> str:
    """SHA-256 of a JSON document in its canonical form: the same before it is stored and after."""
    plain = json.dumps(_as_stored(document), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(plain.encode()).hexdigest()


def _as_stored(value: Any) -> Any:
    """Numbers as they come out of a jsonb column, which keeps decimals: no exponents, and no zero below zero."""
    match value:
        case dict():
            return {key: _as_stored(one) for key, one in value.items()}
        case list() | tuple():
            return [_as_stored(one) for one in value]
        case float() if value == 0:
            return 0.0
        case float() if abs(value) >= _PLAIN and math.isfinite(value):
            return int(Decimal(repr(value)))
    return value
