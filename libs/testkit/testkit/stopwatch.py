"""Measuring how long something takes on a machine that stands still now and then."""

import time
from threading import Event, Thread
from types import TracebackType
from typing import Self

from sandbox.running_time import Clock, RunningTime

TICK_SECONDS = 0.1
# Of the time between two ticks: what is longer was a pause of the machine.
MAX_SECONDS_PER_TICK = 1.0


class Stopwatch:
    """Counts the seconds of a block in which the machine ran, as a context manager."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._time, self._ended = RunningTime(MAX_SECONDS_PER_TICK, clock), Event()
        self._thread = Thread(target=self._run, name="stopwatch")

    @property
    def seconds(self) -> float:
        """The seconds up to the last tick."""
        return self._time.seconds

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def tick(self) -> None:
        """Count the time since the last tick."""
        self._time.count()

    def _run(self) -> None:
        while not self._ended.wait(TICK_SECONDS):
            self.tick()
        self.tick()
