"""Imported by the process from which children are forked: all that a first run would import by itself, later."""

import httpcore  # noqa: F401
import jiter  # noqa: F401
import openai.lib.streaming.chat
import openai.resources.chat  # noqa: F401

import agents.runner.child  # noqa: F401
