"""Names for URLs and files."""

import re
import unicodedata


def slugify(text: str) -> str:
    """Lower-case ASCII letters and digits, joined by single hyphens; empty when nothing is left."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")
