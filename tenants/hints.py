"""A hint that a runner has room: whoever gives out turns listens. The only arrow from here upward."""

from django.dispatch import Signal

room_on_a_runner = Signal()


def capacity_freed() -> None:
    """Somebody may go next."""
    room_on_a_runner.send(sender=None)
