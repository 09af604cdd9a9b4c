"""What becomes worth telling while an agent works: its money runs out, its swarm is paused."""

from agents.runtimes.context import Told

FEW_CALLS = 5
"""With money for so many more model calls an agent is told to come to an end."""
ENOUGH_AGAIN = 10
"""With so many it may be told once more, should it run low again."""
LOW = """\
The budget for your work is nearly used up: at your pace it lasts for about {calls} more model calls. Bring your part
to an end now: leave out what is not needed, see that what you have is right, and finish by calling `final_result`."""
PAUSED = "The swarm is paused: nothing new starts. This attempt goes on to its end."
RESUMED = "The swarm goes on."


class Watch:
    """Looks, before each model call of one agent, at what the control plane said last."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._first: int | None = None
        """What was left, in millionths of a dollar, when that was known first, or there was more than before."""
        self._calls = 0
        """Model calls since then."""
        self._is_warned = False
        self._paused = False

    def before_call(self) -> tuple[str, str]:
        """A model call begins: what the agent must know, and what those must who look on; empty when nothing is new."""
        return self._for_agent(), self._for_people()

    def _for_agent(self) -> str:
        calls = self._calls_left(self._told.budget_left)
        if calls is None or calls > FEW_CALLS:
            self._is_warned = self._is_warned and calls is not None and calls < ENOUGH_AGAIN
            return ""
        if self._is_warned:
            return ""
        self._is_warned = True
        return LOW.format(calls=max(calls, 1))

    def _calls_left(self, left: int | None) -> int | None:
        """How many more model calls the money lasts for, at the pace so far; None: nobody knows yet, or no limit."""
        if left is None or self._first is None or left > self._first:
            self._first, self._calls = left, 0
        self._calls += 1
        if left is None or self._first is None or left == self._first:
            return None
        return max(left, 0) * (self._calls - 1) // (self._first - left)

    def _for_people(self) -> str:
        if self._told.pause == self._paused:
            return ""
        self._paused = self._told.pause
        return PAUSED if self._paused else RESUMED
