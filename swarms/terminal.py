"""Text for an operator's terminal. Pure."""

import unicodedata


def plain(text: str) -> str:
    """The text without anything that a terminal would obey: agents and strangers wrote parts of it."""
    return "".join(letter if letter == "\n" or _is_shown(letter) else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _is_shown(letter: str) -> bool:
    return unicodedata.category(letter) not in ("Cc", "Cf", "Cs")
