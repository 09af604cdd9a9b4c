"""Dramatiq actors of the agents' side: only hints make them run."""

from uuid import UUID

import dramatiq

from agents import clearing


@dramatiq.actor(time_limit=120_000)
def clear_server(server_id: str) -> None:
    """Sessions of ended executions are to be removed from a server."""
    clearing.clear(UUID(server_id))
