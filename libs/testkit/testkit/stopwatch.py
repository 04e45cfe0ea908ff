"""Measuring how long something takes on a machine that stands still now and then."""

import time
from collections.abc import Callable
from threading import Event, Thread
from types import TracebackType
from typing import Self

TICK_SECONDS = 0.1
# Of the time between two ticks: what is longer was a pause of the machine.
MAX_SECONDS_PER_TICK = 1.0


class Stopwatch:
    """Counts the seconds of a block in which the machine ran, as a context manager."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = 0.0
        self._clock, self._last, self._ended = clock, clock(), Event()
        self._thread = Thread(target=self._run, name="stopwatch")

    def __enter__(self) -> Self:
        self._last = self._clock()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def tick(self) -> None:
        """Count the time since the last tick."""
        now = self._clock()
        self.seconds += min(now - self._last, MAX_SECONDS_PER_TICK)
        self._last = now

    def _run(self) -> None:
        while not self._ended.wait(TICK_SECONDS):
            self.tick()
        self.tick()
