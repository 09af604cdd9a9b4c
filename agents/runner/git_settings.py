"""Git as a runner runs it: nobody's configuration but this."""

import os

SILENT_SECONDS = 300
"""The longest that who is asked over the network may say nothing: git has no limit of its own, and what waits for it
holds the mirror of its repository. Git's servers say that they live every few seconds."""
CONFIG = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.symlinks": "true",
    "core.autocrlf": "false",
    "core.quotePath": "false",
    "checkout.workers": "0",  # as many as there are processors
    "commit.gpgSign": "false",
    "credential.helper": "",
    "diff.ignoreSubmodules": "all",
    "fetch.recurseSubmodules": "false",
    "fetch.unpackLimit": "1",  # what comes is one pack, which is there whole or not at all
    "gc.auto": "0",
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "1",
    "http.lowSpeedTime": str(SILENT_SECONDS),
    "maintenance.auto": "false",
    "protocol.allow": "never",
    "protocol.http.allow": "always",
    "protocol.https.allow": "always",
    "push.recurseSubmodules": "no",
    "submodule.recurse": "false",
}


def environment(token: str) -> dict[str, str]:
    """Git's whole environment. The token travels here, never on a command line or in a file."""
    config = CONFIG | {"http.extraHeader": f"Authorization: Bearer {token}"}
    environment = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": "/nonexistent",
        "LANG": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_CONFIG_COUNT": str(len(config)),
    }
    for index, (key, value) in enumerate(config.items()):
        environment[f"GIT_CONFIG_KEY_{index}"] = key
        environment[f"GIT_CONFIG_VALUE_{index}"] = value
    return environment
