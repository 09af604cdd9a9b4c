"""The OpenCode runtime: a server of OpenCode beside each attempt, driven over HTTP."""
