"""`dramatiq bench.chaos.muteworker`: a worker like any other, of which every message gets lost."""

from dramatiq import get_broker

from bench.chaos.mute import Mute
from config.worker import broker as _broker  # noqa: F401 - the actors, and the broker that Dramatiq looks for

get_broker().add_middleware(Mute())
