"""Two-way talk: with runners, by websocket or plain HTTP, and with people at the pages of a swarm, by websocket."""

from agents.consumers.people import SwarmConsumer
from agents.consumers.polling import polling
from agents.consumers.runner import RunnerConsumer

__all__ = ["RunnerConsumer", "SwarmConsumer", "polling"]
