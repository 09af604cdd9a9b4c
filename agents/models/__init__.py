"""Who does the work."""

from agents.models.fleet import Agent, Server
from agents.models.money import Budget, HeldCall, ModelCall, ModelPrice, Provider
from agents.models.work import Execution, LeftSession, Steer

__all__ = [
    "Agent",
    "Budget",
    "Execution",
    "HeldCall",
    "LeftSession",
    "ModelCall",
    "ModelPrice",
    "Provider",
    "Server",
    "Steer",
]
