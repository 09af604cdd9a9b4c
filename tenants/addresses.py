"""What a team's address may be: the word before the host, as in `acme.waggle.example`. Pure."""

import re
import unicodedata
from collections.abc import Callable

LONGEST = 40
_RESERVED = """
about account accounts admin agent agents api app apps assets auth blog billing cdn chat dashboard demo-admin
dev docs download events example ftp git grafana health help host imap internal kubernetes localhost login
logout mail mcp media metrics model mx news ns ns1 ns2 operator pop prometheus public register root runner
runners server servers settings signin signup smtp ssh ssl staging static status support swarm swarms system t
team teams test tests waggle webmail www
"""
RESERVED = frozenset(_RESERVED.split())
_GOOD = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def problem(slug: str) -> str:
    """What is wrong with an address, in words; empty when it is fine."""
    if not 2 <= len(slug) <= LONGEST:
        return f"An address has 2 to {LONGEST} characters."
    if not _GOOD.fullmatch(slug):
        return "Use small letters, digits and single hyphens; begin with a letter. For example: blue-team."
    if slug in RESERVED:
        return f"“{slug}” is reserved. Choose another address."
    return ""


def suggest(name: str, taken: Callable[[str], bool] = lambda slug: False) -> str:
    """A good and free address for a team's name: "Crème & Co" becomes `creme-co`."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    slug = re.sub(r"^[^a-z]+", "", slug)[:LONGEST].rstrip("-")
    if len(slug) < 2:
        slug = f"team-{slug}".rstrip("-")
    for number in range(1, 1000):
        ending = "" if number == 1 else f"-{number}"
        tried = slug[: LONGEST - len(ending)].rstrip("-") + ending
        if not problem(tried) and not taken(tried):
            return tried
    return ""
