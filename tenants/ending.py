"""How a process that runs until it is told to stop hears that it is."""

import signal
import threading

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def ending() -> threading.Event:
    """An event that SIGTERM or SIGINT sets. Call it first thing in the main thread, before other threads begin.

    The signals are waited for in a thread. A handler would run in the middle of whatever the main thread does, and
    setting an event in the middle of a wait for the same event hangs for ever: its lock is held already.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    stop = threading.Event()

    def listen() -> None:
        signal.sigwait(SIGNALS)
        stop.set()

    threading.Thread(target=listen, name="ending", daemon=True).start()
    return stop
