"""Small tools for plain text."""

from textkit.case import convert
from textkit.slug import slugify
from textkit.wrap import wrap

__all__ = ["convert", "slugify", "wrap"]
