"""Imported by the process from which children are forked: all that a first run would import by itself, later."""

import gc
import os

# What is loaded here lives as long as the process, so nobody looks through it for rubbish: neither now, which takes a
# fifth of the time, nor in each child, which would copy the memory that it shares.
gc.set_threshold(50_000, 10, 10)

import httpcore  # noqa: E402, F401
import jiter  # noqa: E402, F401
import openai.lib.streaming.chat  # noqa: E402
import openai.resources.chat  # noqa: E402, F401

import agents.runner.child  # noqa: E402, F401
from agents.runner.trust import trusted  # noqa: E402
from agents.runtimes import RUNTIMES  # noqa: E402

# What its library takes to load, a third of all this, is for who has an agent of its protocol.
NEEDED = [name for name in RUNTIMES if name != "acp" or os.environ.get("WAGGLE_RUNNER_ACP")]
for name in NEEDED:
    RUNTIMES[name]
for as_told in (False, True):
    trusted(as_told=as_told)

gc.freeze()
