"""Where a project's repository comes from: which addresses are allowed, and how git is told of one.

Unless LOCAL_SOURCES is on, a source is a machine of the public internet or one of SOURCE_HOSTS: members of a team
must not reach what only this server can reach.
"""

import base64
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError

from swarms.workspace.git import GitError
from tenants.reachable import Address, NotAllowed, is_public, resolved

WEB, OTHERS = ("https", "http"), ("ssh", "git")
PORTS = {"https": 443, "http": 80, "ssh": 22, "git": 9418}
# Strict, since git, curl and Python must not see different hosts in the same address.
_ADDRESS = re.compile(
    r"[a-z]+://(?:[^\s/@\\?#\[\]]*@)?(?:[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?/[^\s\\]*"
)


@dataclass(frozen=True)
class Reach:
    """How git gets to a source: its address without secrets, and what git must know beside it."""

    address: str
    protocols: str
    config: dict[str, str] = field(default_factory=dict)


def check(source: str) -> None:
    """Refuse what is no address of a git repository, or one that members may not reach through this server.

    Raises ValidationError with the remedy.
    """
    if source.startswith("-"):
        raise ValidationError("A repository's address does not begin with '-'.")
    if "://" in source:
        _check_url(source)
    elif not settings.LOCAL_SOURCES:
        raise ValidationError(
            "This server takes no folders of its own as repositories (WAGGLE_LOCAL_SOURCES is off). Use a URL, for"
            " example https://git.example/team/project.git."
        )
    else:
        _check_folder(Path(source).expanduser())


def reach(source: str) -> Reach:
    """How to get to a source now. Raises GitError when it may not be reached.

    Names are resolved here once, and git is held to the answer: a second answer could be a private address.
    """
    if "://" not in source:
        return Reach(source, "file")
    try:
        found = _check_url(source)
    except ValidationError as error:
        raise GitError("; ".join(error.messages)) from error
    parts = urlsplit(source)
    if parts.scheme not in WEB:
        return Reach(source, ":".join(OTHERS))
    config = {"http.followRedirects": "initial" if settings.LOCAL_SOURCES and not parts.username else "false"}
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        # Not on a command line, which every process of this machine can read.
        config["http.extraHeader"] = f"Authorization: Basic {base64.b64encode(pair.encode()).decode()}"
    if found:
        config["http.curloptResolve"] = f"{parts.hostname}:{_port(parts)}:{','.join(map(_bare, found))}"
    return Reach(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(), ":".join(WEB), config)


def _check_url(source: str) -> list[Address]:
    """The addresses to which git must be held; none where it may go wherever the name leads."""
    allowed = (*WEB, *OTHERS)
    if source.partition("://")[0] not in allowed:
        raise ValidationError(f"Use an address that begins with {', '.join(f'{s}://' for s in allowed)}.")
    if not _ADDRESS.fullmatch(source):
        raise ValidationError("This is no address of a repository. Write it like https://git.example/team/project.git.")
    parts = urlsplit(source)
    try:
        _port(parts)
    except ValueError as error:
        raise ValidationError("The port in the address is no port: use 1 to 65535, or leave it out.") from error
    if settings.LOCAL_SOURCES or (parts.hostname or "") in settings.SOURCE_HOSTS:
        return []
    if parts.scheme not in WEB:
        raise ValidationError(
            f"This server reads {parts.scheme}:// only from hosts that its operator named in WAGGLE_SOURCE_HOSTS."
            " Use https://."
        )
    found = _resolved(parts)
    if not all(map(is_public, found)):
        raise ValidationError(
            f"{parts.hostname} is a machine of a private network. Use a public address, or ask the operator to"
            f" add {parts.hostname} to WAGGLE_SOURCE_HOSTS."
        )
    return found


def _check_folder(path: Path) -> None:
    if not path.is_absolute():
        raise ValidationError("Give the whole path of the folder, for example /home/ana/project.")
    ours = Path(settings.DATA_DIR).resolve() / "repos"
    if ours in [path.resolve(), *path.resolve().parents]:
        raise ValidationError("That folder belongs to this server.")
    if not path.exists():
        raise ValidationError(f"There is no folder {path} on this server.")


def _port(parts: SplitResult) -> int:
    return parts.port or PORTS[parts.scheme]


def _resolved(parts: SplitResult) -> list[Address]:
    try:
        return resolved(parts.hostname or "", _port(parts))
    except NotAllowed as error:
        raise ValidationError(str(error)) from error


def _bare(address: Address) -> str:
    return f"[{address}]" if address.version == 6 else str(address)
