"""Verbs as actions of lists."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest

from sessions.events import acting

Verb = Callable[[Any, HttpRequest], bool]
"""Does something with a row; whether that changed anything. May raise ValidationError."""


def because(verb: Callable[..., bool]) -> Verb:
    """A verb that wants to know why."""
    return lambda row, request: verb(row, because=f"by {request.user}")


def action(verb: Verb, description: str, *, needs: str = "change") -> Any:
    """An action of a list: the verb for each that was chosen. `needs`: which permission of the list's ModelAdmin."""

    def act(self: Any, request: HttpRequest, chosen: QuerySet[Any]) -> None:
        done = 0
        with acting(f"user:{request.user.pk}"):
            for row in chosen:
                try:
                    done += verb(row, request)
                except ValidationError as error:
                    messages.error(request, " ".join(error.messages))
        messages.success(request, f"{done} of {len(chosen)} changed.")

    act.__name__ = description.lower().replace(" ", "_")
    return admin.action(permissions=[needs], description=description)(act)
