"""What a server of ours is told at its start: by its environment alone, so that nobody's files are touched. Pure."""

import json
from collections.abc import Collection, Mapping
from typing import Any

from agents.contracts import Assignment, ModelAccess
from agents.runtimes.opencode.install import VERSION

PROGRAM = "/opt/opencode/opencode"
"""The program, as the sandbox shows it."""
FOLDER = "opencode"
"""Its home, below the sandbox's /tmp."""
PROVIDER, MCP, AGENT = "waggle", "waggle", "waggle"
REPOSITORY = ("opencode.json", "opencode.jsonc", ".opencode")
"""Where a repository tells OpenCode what to do: that is for its people, not for what runs here."""
MODEL_PATH, MCP_PATH = "/model/v1", "/mcp"
"""As a server knows the control plane's addresses."""
CONTEXT_TOKENS, OUTPUT_TOKENS = 64_000, 16_384
"""OpenCode sums up what was said before when a model's window fills, and must be told how large that is: so large where
the platform does not know it. An answer may be so long, or a quarter of the window."""

ALLOW, ASK, DENY = "allow", "ask", "deny"
READING = {"read": "read", "list": "list", "glob": "list", "grep": "search"}
"""The tools as rules know them, by OpenCode's names: no need to ask where the assignment says so."""
OWN = {name: ALLOW for name in ("todoread", "todowrite", "skill", "question", f"{MCP}_*")}
"""What stays with the agent and the platform."""
AWAY = {name: DENY for name in ("external_directory", "webfetch", "websearch", "codesearch")}
"""There is no network, and nothing of the machine to see."""


def permission(kind: str, unasked: Collection[str]) -> dict[str, str]:
    """What the agent of an assignment may do without asking the team's rules. The last rule that fits counts."""
    rules = {"*": ASK} | OWN | {name: ALLOW if tool in unasked else ASK for name, tool in READING.items()}
    if kind != "work":
        rules |= {"edit": DENY, "task": DENY, "bash": ASK if kind == "review" else DENY}
    return rules | AWAY


def routes(assignment: Assignment) -> dict[str, str]:
    """The addresses that a server may reach, by the path under which it knows them."""
    found = {}
    if assignment.model is not None:
        found[f"{MODEL_PATH}/chat/completions"] = f"{assignment.model.base_url}/chat/completions"
    if assignment.mcp:
        found[MCP_PATH] = assignment.mcp
    return found


def configuration(assignment: Assignment, plane: str) -> dict[str, Any]:
    """OpenCode's configuration. `plane` is where the control plane is found from inside the sandbox."""
    assert assignment.model is not None
    found = _common(assignment.model, assignment.mcp, plane, "none")
    return found | {"permission": permission(assignment.kind, assignment.unasked)}


def waiting(plane: str) -> dict[str, Any]:
    """The configuration of a server that has no attempt yet: nobody is behind its model."""
    return _common(ModelAccess(base_url="", name="none"), "", plane, "none")


def at_host(assignment: Assignment, plane: str, key: str) -> dict[str, Any]:
    """The configuration of one directory on a server that others use, too: on top of its own, which stays as it is.

    `plane` is the proxy of this attempt, and `key` what opens it. Our agent has a name of its own there: what it may do
    is said for that alone, and comes after whatever the server's owner allows. No subagents: these would keep to his
    rules.
    """
    assert assignment.model is not None
    found = _common(assignment.model, assignment.mcp, plane, key)
    rules = permission(assignment.kind, assignment.unasked) | {"task": DENY}
    return found | {"agent": {AGENT: {"mode": "primary", "permission": rules}}}


def _common(access: ModelAccess, mcp: str, plane: str, key: str) -> dict[str, Any]:
    name = access.name
    window = access.window or CONTEXT_TOKENS
    model = {
        "name": name,
        "tool_call": True,
        "limit": {"context": window, "output": min(OUTPUT_TOKENS, window // 4)},
    }
    found: dict[str, Any] = {
        "autoupdate": False,
        "share": "disabled",
        # The platform commits what an agent leaves; snapshots would cost two of git's walks a step.
        "snapshot": False,
        "enabled_providers": [PROVIDER],
        "model": f"{PROVIDER}/{name}",
        "small_model": f"{PROVIDER}/{name}",
        "provider": {
            PROVIDER: {
                "npm": "@ai-sdk/openai-compatible",
                "name": "Waggle",
                # The proxy before the sandbox sets the true key; the library insists on one.
                "options": {"baseURL": f"{plane}{MODEL_PATH}", "apiKey": key},
                "models": {name: model},
            }
        },
    }
    if mcp:
        shown = {"Authorization": f"Bearer {key}"}
        url = f"{plane}{MCP_PATH}"
        found["mcp"] = {MCP: {"type": "remote", "url": url, "oauth": False, "enabled": True, "headers": shown}}
    return found


def variables(config: Mapping[str, Any] | str, home: str) -> dict[str, str]:
    """The environment of OpenCode, beside what any command in the sandbox has.

    `config`: its configuration, or the path of the file that will have it."""
    return {
        **({"OPENCODE_CONFIG": config} if isinstance(config, str) else {"OPENCODE_CONFIG_CONTENT": json.dumps(config)}),
        "HOME": home,
        "XDG_CONFIG_HOME": f"{home}/.config",
        "XDG_DATA_HOME": f"{home}/.local/share",
        "XDG_STATE_HOME": f"{home}/.local/state",
        "XDG_CACHE_HOME": f"{home}/.cache",
        # What a repository says about OpenCode is for its people, not for what runs here.
        "OPENCODE_DISABLE_PROJECT_CONFIG": "1",
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        "OPENCODE_DISABLE_SHARE": "1",
        "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
        "OPENCODE_DISABLE_CLAUDE_CODE": "1",
        "OPENCODE_DISABLE_EXTERNAL_SKILLS": "1",
        "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
        "NO_COLOR": "1",
    }


def files() -> dict[str, str]:
    """Files in the server's home, by path."""
    return _plugged(".config/opencode")


def files_at_host(assignment: Assignment, plane: str, key: str) -> dict[str, str]:
    """Files beside a workspace on a server that others use, too: it looks for its configuration up from there."""
    return {"opencode.json": json.dumps(at_host(assignment, plane, key))} | _plugged(".opencode")


def _plugged(folder: str) -> dict[str, str]:
    lock = {"packages": {"": {"dependencies": {"@opencode-ai/plugin": VERSION}}}}
    return {
        # With this it does not try to install a package from the network at each start.
        f"{folder}/package-lock.json": json.dumps(lock),
        f"{folder}/node_modules/.keep": "",
        f"{folder}/plugin/environment.js": PLUGIN,
    }


PLUGIN = """\
// Commands of the agent find nothing of the server's own settings in their environment.
export const Environment = async () => ({
  "shell.env": async (input, output) => {
    for (const name of Object.keys(process.env)) if (name.startsWith("OPENCODE_")) output.env[name] = ""
  },
})
"""
