"""Where a project's repository comes from: which addresses are allowed, and how git is told of one.

Unless LOCAL_SOURCES is on, a source is a machine of the public internet or one of SOURCE_HOSTS: members of a team
must not reach what only this server can reach.
"""

import base64
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError

from swarms.workspace.git import GitError

WEB, OTHERS = ("https", "http"), ("ssh", "git")
PORTS = {"https": 443, "http": 80, "ssh": 22, "git": 9418}
# Strict, since git, curl and Python must not see different hosts in the same address.
_ADDRESS = re.compile(
    r"[a-z]+://(?:[^\s/@\\?#\[\]]*@)?(?:[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?/[^\s\\]*"
)
_NAT64 = IPv6Network("64:ff9b::/96")

Address = IPv4Address | IPv6Address


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
        found = socket.getaddrinfo(parts.hostname, _port(parts), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ValidationError(f"No machine is called {parts.hostname}. Check the address.") from error
    return list(dict.fromkeys(ip_address(str(entry[4][0]).partition("%")[0]) for entry in found))


def _bare(address: Address) -> str:
    return f"[{address}]" if address.version == 6 else str(address)


def is_public(address: Address) -> bool:
    """Whether everybody can reach this address; one that only wraps another is what it wraps."""
    return all(one.is_global and not one.is_multicast for one in (address, *_wrapped(address)))


def _wrapped(address: Address) -> Iterator[IPv4Address]:
    if isinstance(address, IPv4Address):
        return
    if address.ipv4_mapped:
        yield address.ipv4_mapped
    if address.sixtofour:
        yield address.sixtofour
    if address.teredo:
        yield from address.teredo
    if address in _NAT64:
        yield IPv4Address(int(address) & 0xFFFFFFFF)
