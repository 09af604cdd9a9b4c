"""Identifiers in other styles."""

import re

STYLES = ("snake", "kebab", "camel", "title")

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def convert(name: str, style: str) -> str:
    """Write an identifier in another style; raises ValueError for a style that is not in STYLES."""
    words = [word.lower() for word in _WORD.findall(name)]
    if style == "snake":
        return "_".join(words)
    if style == "kebab":
        return "-".join(words)
    if style == "camel":
        return "".join(words[:1] + [word.capitalize() for word in words[1:]])
    if style == "title":
        return " ".join(word.capitalize() for word in words)
    raise ValueError(f"unknown style {style!r}: choose one of {', '.join(STYLES)}")
