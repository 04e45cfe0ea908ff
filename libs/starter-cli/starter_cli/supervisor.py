"""Restarts components that end, after longer and longer delays while they keep ending."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread

from servicekit.backoff import exponential

from starter_cli.components import Component
from starter_cli.errors import Cancelled, Failure
from starter_cli.startup import Callback, Progress

BACKOFF_SECONDS = (0.5, 30.0)
# A component that ran for so long did not die of what it died of before.
STABLE_SECONDS = 60


class Supervisor:
    """Watches one component in a thread of its own until the stack ends."""

    def __init__(
        self, component: Component, stopping: Event, on_progress: Callback, on_change: Callable[[], None]
    ) -> None:
        self.component = component
        self._stopping, self._on_progress, self._on_change = stopping, on_progress, on_change
        # Why it does not come up, while it does not.
        self.problem: str | None = None
        self._lock = Lock()
        self._thread = Thread(target=self._watch, name=f"supervisor of {component.name}")

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def join(self) -> None:
        """Wait until the watch has ended, which it does once the stack ends and the component was stopped."""
        if self._thread.is_alive():
            self._thread.join()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the component, and start it again on leaving."""
        with self._lock:
            self.component.stop()
            try:
                yield
            finally:
                self._start()

    def _watch(self) -> None:
        failures, since = 0, time.monotonic()
        while not self._stopping.is_set():
            self.component.wait()
            with self._lock:
                if self.component.is_running or self._stopping.is_set():
                    continue
                failures = 1 if time.monotonic() - since > STABLE_SECONDS else failures + 1
                self._restart(exponential(failures, *BACKOFF_SECONDS))
            since = time.monotonic()

    def _restart(self, pause: float) -> None:
        name = self.component.name
        self._report(f"{name} stopped ({self.component.exit_reason}); starting it again in {pause:g} s")
        if self._stopping.wait(pause):
            return
        with suppress(Failure):
            self._start()

    def _start(self) -> None:
        name, started_at = self.component.name, time.monotonic()
        try:
            self.component.start(self._stopping)
        except Cancelled:
            raise
        except Failure as failure:
            self.problem = failure.reason
            self._report(sentence_about(failure))
            raise
        else:
            self.problem = None
            self._report(f"{name} is back after {time.monotonic() - started_at:.1f} s")
        finally:
            self._on_change()

    def _report(self, sentence: str) -> None:
        self._on_progress(Progress(self.component.name, message=sentence))


def sentence_about(failure: Failure) -> str:
    """Return why a component did not start, with the last line of its log, where Python writes the error."""
    reason = ": ".join([failure.reason, *failure.last_lines[-1:]])
    return f"{failure.component} did not start: {reason}" + (f" (log: {failure.log})" if failure.log else "")
