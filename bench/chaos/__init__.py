"""Chaos: a platform of real processes that is killed, stopped, cut off and raced, and what must be true of it then."""
