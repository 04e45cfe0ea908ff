"""A time limit on each of many waits, by one timer for all of them."""

import asyncio
from types import TracebackType
from typing import Any


class WaitLimit:
    """Limits the seconds of each wait that it is entered for; raises TimeoutError.

    A stream has a wait for every token. `asyncio.timeout` would set a timer for each of them, and cancel it,
    which costs as much as all else that is done with a token.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._began = 0.0
        # The task that waits, and how often it had been cancelled before.
        self._task: asyncio.Task[Any] | None = None
        self._cancellations = 0
        self._has_expired = False

    def __enter__(self) -> None:
        self._began = self._loop.time()
        self._task = asyncio.current_task()
        assert self._task is not None  # noqa: S101  # it is entered in a coroutine
        self._cancellations = self._task.cancelling()
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._check)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        task, self._task = self._task, None
        if self._has_expired and task is not None:
            self._has_expired = False
            # Whoever else cancelled the task meanwhile is told so, as by asyncio.timeout.
            if task.uncancel() <= self._cancellations and kind is asyncio.CancelledError:
                raise TimeoutError from error

    def close(self) -> None:
        """Remove the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        """Cancel the wait where it is too long; look again when the current one may be."""
        self._timer = None
        if self._task is None:
            return
        rest = self._began + self._seconds - self._loop.time()
        if rest > 0:
            self._timer = self._loop.call_later(rest, self._check)
        else:
            self._has_expired = True
            self._task.cancel()
