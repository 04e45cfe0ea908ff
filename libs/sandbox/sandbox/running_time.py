"""Time that a machine runs, which may stand still now and then."""

import time
from collections.abc import Callable

Clock = Callable[[], float]


class RunningTime:
    """Counts the seconds in which the machine ran: between two looks at the clock, so many at most."""

    def __init__(self, max_seconds_per_look: float, clock: Clock = time.monotonic) -> None:
        self.seconds = 0.0
        self._max, self._clock, self._last = max_seconds_per_look, clock, clock()

    def count(self) -> float:
        """Count the time since the last look, and return all of it, in seconds."""
        now = self._clock()
        self.seconds += min(now - self._last, self._max)
        self._last = now
        return self.seconds
