"""Processes end when they are told to, whatever they do at that moment."""

import signal
import subprocess
import sys

from config.env import PROJECT_ROOT

# Waits in steps so short that a signal nearly always comes in the middle of taking the event's lock.
PROGRAM = """
from tenants.ending import ending
stop = ending()
print("ready", flush=True)
while not stop.wait(0.000001):
    pass
print("over", flush=True)
"""


def test_a_process_that_waits_all_the_time_hears_every_signal() -> None:
    for number in (signal.SIGTERM, signal.SIGINT) * 10:
        process = subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.communicate(timeout=30)[0] == "over\n"
        assert process.returncode == 0
