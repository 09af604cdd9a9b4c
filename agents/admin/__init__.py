"""Agents, servers, runners, providers of models, prices and the books of budgets in the team's administration."""

from agents.admin import fleet, money

__all__ = ["fleet", "money"]
