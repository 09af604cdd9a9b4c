"""What is sent: an event as JSON, signed as Standard Webhooks wants it."""

import base64
import json
import secrets
from collections.abc import Sequence
from datetime import datetime

from standardwebhooks import Webhook as Signer

from sessions.kinds.payload import Envelope
from sessions.models import Event

AGENT = "Waggle-Webhooks/1"


def new_secret() -> str:
    """A secret of 256 bits in the form that Standard Webhooks libraries take."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def body(event: Event, team: str) -> str:
    """The event with its team's address; the same whenever it is sent."""
    data = envelope(event).model_dump(mode="json") | {"team": team}
    told = {"type": event.kind, "timestamp": event.at.isoformat(), "data": data}
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"))


def envelope(event: Event) -> Envelope:
    """An event as programs get it."""
    return Envelope.model_validate(event, from_attributes=True)


def headers(event: Event, content: str, keys: Sequence[str], now: datetime) -> dict[bytes | str, bytes | str]:
    """Id, time and a signature by each secret. The id is the event's: by it a receiver knows what it has already."""
    key = str(event.pk)
    return {
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": AGENT,
        "webhook-id": key,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(Signer(secret).sign(key, now, content) for secret in keys),
    }
