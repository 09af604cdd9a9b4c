"""Wiring: settings, addresses, the processes of the platform."""

import gc

# What a process loads lives as long as the process. Looking through it for rubbish after every 700 new objects, as
# Python does, takes a fifth of each start.
gc.set_threshold(50_000, 10, 10)
