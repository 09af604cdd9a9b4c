"""Paragraphs with an even width."""

import re
import textwrap


def wrap(text: str, width: int = 72) -> str:
    """Wrap each paragraph to at most `width` characters; words longer than that are left whole."""
    paragraphs = [part for part in re.split(r"\n\s*\n", text.strip()) if part.strip()]
    return "\n\n".join(
        textwrap.fill(" ".join(part.split()), width, break_long_words=False, break_on_hyphens=False)
        for part in paragraphs
    )
