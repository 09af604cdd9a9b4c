"""Websockets, where the talk is two-way: runners, and people at the pages of a swarm."""

from agents.consumers.people import SwarmConsumer
from agents.consumers.runner import RunnerConsumer

__all__ = ["RunnerConsumer", "SwarmConsumer"]
