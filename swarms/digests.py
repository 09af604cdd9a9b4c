"""The hash to which an approval is bound. Pure."""

import hashlib
import json
from typing import Any


def digest(document: Any) -> str:
    """SHA-256 of a JSON document in its canonical form."""
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
