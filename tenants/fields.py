"""How fields of forms behave after a refusal: what is missing is named, and the first of them has the focus."""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.forms import BaseForm, BoundField, ChoiceField, FileField, Widget
from django.forms.renderers import DjangoTemplates
from django.forms.utils import ErrorList

FEW = 4
"""Choices that a remedy names; of more it says only that there are some."""


class Field(BoundField):
    """A field in a form. Set as the way of all forms by the setting FORM_RENDERER."""

    @property
    def errors(self) -> ErrorList:
        """Its errors; that it is missing says what to do about it."""
        found = super().errors
        told: list[str | Exception] = [
            ValidationError(self._remedy, code=one.code) if one.code == "required" else one for one in found.as_data()
        ]
        return found.__class__(told, error_class=found.error_class, renderer=self.form.renderer)

    def build_widget_attrs(self, attrs: Mapping[str, Any], widget: Widget | None = None) -> dict[str, Any]:
        """Gives the focus to the first field with an error, unless something is said above all fields."""
        made: dict[str, Any] = super().build_widget_attrs(dict(attrs), widget)
        if self.form.is_bound and self.form.errors:
            made["autofocus"] = self.name == next(iter(self._wrong), None)
        return made

    @property
    def _wrong(self) -> list[str]:
        if self.form.non_field_errors():
            return []
        return [field.name for field in self.form.visible_fields() if field.name in self.form.errors]

    @property
    def _remedy(self) -> str:
        if isinstance(self.field, ChoiceField):
            choices: Any = self.field.choices
            labels = [str(label) for value, label in choices if value != ""]
            named = f": {', '.join(labels)}" if len(labels) <= FEW else ""
            some = "at least one" if self.field.widget.allow_multiple_selected else "one"
            return f"{self.label}: choose {some}{named}."
        what = "choose a file" if isinstance(self.field, FileField) else "fill this in"
        example = self.field.widget.attrs.get("placeholder", "")
        return f"{self.label}: {what}{f', for example {example}' if example and len(example) < 60 else ''}."


def told(form: BaseForm) -> list[str]:
    """All that is wrong with a form, for where its fields are not shown; each text says what it is about."""
    found = [str(text) for text in form.non_field_errors()]
    for field in form:
        found += [
            text if text.startswith(str(field.label)) else f"{field.label}: {text}" for text in map(str, field.errors)
        ]
    return found


class Renderer(DjangoTemplates):
    """Django's, with our way of fields."""

    bound_field_class = Field
