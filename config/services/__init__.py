"""The processes around the control plane: embedded databases, and the supervisor of `manage.py up`."""

from config.services.embedded import ensure, stop
from config.services.launch import StartFailed

__all__ = ["StartFailed", "ensure", "stop"]
