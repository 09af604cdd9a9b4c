"""Which enrolled server a piece of work goes to. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

ANY = "any"
"""Any enrolled server."""


@dataclass(frozen=True)
class Host:
    """An enrolled server as a place to work."""

    id: str
    name: str
    url: str
    state: str = "trusted"
    roles: tuple[str, ...] = ()
    capacity: int = 1
    """Executions at once."""
    busy: int = 0
    runners: tuple[str, ...] = ()
    """Runners that are connected and share its disk."""
    takes_untrusted: bool = False
    shut: str = ""
    """Why it is left alone for a while; empty: it is not."""


@dataclass(frozen=True)
class Picked:
    """What became of looking for an enrolled server: one, or why there is none."""

    host: Host | None = None
    text: str = ""
    elsewhere: tuple[str, ...] = ()
    is_untrusted: bool = False


def pick(agent: str, server: str, hosts: Sequence[Host], role: str, runner: str, *, untrusted: bool) -> Picked:
    """The emptiest of the servers on which an agent may work, from this runner. `server` is an address, or ANY."""
    wanted = [host for host in hosts if server in (ANY, host.url)]
    if not wanted:
        which = "no server takes work" if server == ANY else f"the server {server} takes no work"
        return Picked(text=f"{agent} works on enrolled servers only, and {which}")
    faults, elsewhere, fitting, is_untrusted = [], list[str](), list[Host](), False
    for host in wanted:
        if fault := _misfit(host, role):
            faults.append(fault)
        elif untrusted and not host.takes_untrusted:
            is_untrusted = True
            faults.append(f"{host.name} takes no work that reads strangers' words")
        elif runner not in host.runners:
            elsewhere += host.runners
            faults.append(f"{', '.join(host.runners)}, on the machine of {host.name}, has no room")
        else:
            fitting.append(host)
    if not fitting:
        return Picked(None, f"{agent} has no server: {', '.join(faults)}", tuple(elsewhere), is_untrusted)
    return Picked(min(fitting, key=lambda host: (host.busy / host.capacity, host.name)))


def _misfit(host: Host, role: str) -> str:
    """Why a server takes no work of a role now; empty: it does."""
    if host.state != "trusted":
        return f"{host.name} is {host.state}"
    if role not in host.roles:
        return f"{host.name} takes no {role}"
    if host.shut:
        return f"{host.name} is left alone: {host.shut}"
    if host.busy >= host.capacity:
        return f"{host.name} has {host.busy} of the {host.capacity} executions that it may have"
    if not host.runners:
        return f"no connected runner shares the disk of {host.name}"
    return ""
