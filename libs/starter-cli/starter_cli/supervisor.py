"""Keeps parts alive: what dies is started again, less and less eagerly while it keeps dying."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread

from starter_cli.components import Part
from starter_cli.errors import Cancelled, Failure
from starter_cli.startup import Happening, Tell

WATCH_SECONDS = 0.2
PAUSE_SECONDS = (0.5, 30.0)
# A part that ran for so long did not die of what it died of before.
STEADY_SECONDS = 60


class Keeper:
    """Watches one part in a thread of its own until the stack ends."""

    def __init__(self, part: Part, ending: Event, tell: Tell, changed: Callable[[], None]) -> None:
        self.part = part
        self._ending, self._tell, self._changed = ending, tell, changed
        # Why it does not come up, while it does not.
        self.problem: str | None = None
        self._lock = Lock()
        self._thread = Thread(target=self._watch, name=f"keeper of {part.name}")

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def join(self) -> None:
        """Wait until the watch has ended, which it does when the stack does."""
        if self._thread.is_alive():
            self._thread.join()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the part, and start it again on leaving."""
        with self._lock:
            self.part.stop()
            try:
                yield
            finally:
                self.part.start(self._ending)
                self._changed()

    def _watch(self) -> None:
        shortest, longest = PAUSE_SECONDS
        pause, since = shortest, time.monotonic()
        while not self._ending.wait(WATCH_SECONDS):
            with self._lock:
                if self.part.is_running:
                    continue
                pause = shortest if time.monotonic() - since > STEADY_SECONDS else pause
                self._revive(pause)
            pause, since = min(pause * 2, longest), time.monotonic()

    def _revive(self, pause: float) -> None:
        name = self.part.name
        self._say(f"{name} stopped ({self.part.ending}); starting it again in {pause:g} s")
        if self._ending.wait(pause):
            return
        began = time.monotonic()
        try:
            self.part.start(self._ending)
        except Cancelled:
            return
        except Failure as failure:
            self.problem = failure.reason
            self._say(
                f"{name} did not start: {failure.reason}" + (f" (log: {failure.log})" if failure.log else "")
            )
            self._changed()
            return
        self.problem = None
        self._changed()
        self._say(f"{name} is back after {time.monotonic() - began:.1f} s")

    def _say(self, sentence: str) -> None:
        self._tell(Happening(self.part.name, sentence=sentence))
