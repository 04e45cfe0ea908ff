"""The base of relays, consumers and retention workers: loops that go on after failures."""

import asyncio
import contextlib
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any, TypeVar

from servicekit.backoff import exponential, jittered

T = TypeVar("T")

logger = logging.getLogger(__name__)

# Seconds that what is in hand may still take when a worker is told to stop.
GRACE_SECONDS = 5.0
# Seconds to wait after the first failure in a row, and at most.
BACKOFF_SECONDS = (0.1, 5.0)


class LoopWorker(ABC):
    """A worker that repeats one step for ever; an outage is logged when it begins and when it ends.

    With `wakeup`, the next step is taken as soon as this event is set (see `Database.wakeup`).
    """

    def __init__(
        self,
        name: str,
        pauses: tuple[float, float] = BACKOFF_SECONDS,
        wakeup: asyncio.Event | None = None,
    ) -> None:
        self.name = name
        self._pauses = pauses
        self._wakeup = wakeup
        self._failures = 0

    @abstractmethod
    async def begin(self) -> None:
        """Prepare for the steps: at the start, and after every failure."""

    @abstractmethod
    async def step(self) -> float:
        """Do one step of the work; return the seconds to wait before the next."""

    async def idle(self, seconds: float) -> None:
        """Idle between two steps, until woken or for so many seconds."""
        if self._wakeup is None:
            await asyncio.sleep(seconds)
        else:
            await until_set(self._wakeup, seconds)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                await shielded(self.begin())
                await self._run_step()
            except Exception as error:
                self._log_failure(error)
            check_cancelled()
            await asyncio.sleep(self._pause())

    def healthy(self) -> bool:
        """Return whether the last step could be taken."""
        return not self._failures

    async def _run_step(self) -> None:
        while True:
            if self._wakeup is not None:
                # Before the step: what is set while it runs is a reason for another one.
                self._wakeup.clear()
            rest = await self.step()
            check_cancelled()
            self._recovered()
            await self.idle(rest)

    def _log_failure(self, error: Exception) -> None:
        if not self._failures:
            logger.warning("worker is held up", extra={"worker": self.name}, exc_info=error)
        self._failures += 1

    def _recovered(self) -> None:
        if self._failures:
            logger.info("worker goes on", extra={"worker": self.name, "failures": self._failures})
        self._failures = 0

    def _pause(self) -> float:
        return jittered(exponential(self._failures, *self._pauses))


async def until_set(event: asyncio.Event, seconds: float) -> None:
    """Wait until an event is set, for so many seconds at most."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


class Throttle:
    """Becomes due at most once in so many seconds; at once the first time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = 0.0

    def due(self) -> bool:
        """Return whether the interval has passed, and start the next one if so."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True

    def hurry(self) -> None:
        """Be due at once again."""
        self._next = 0.0


def check_cancelled() -> None:
    """Raise CancelledError if this task was cancelled and the error was swallowed.

    redis-py sends through `asyncio.wait_for`, which before Python 3.12 returns in place of a cancellation
    that comes at the wrong moment; the task would go on, and whoever stops it would wait, for ever.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def shielded(work: Coroutine[Any, Any, T], grace: float = GRACE_SECONDS) -> T:
    """Run work that may still finish within `grace` seconds after the task was cancelled."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        try:
            await asyncio.wait({task}, timeout=grace)
        finally:
            task.cancel()
            await asyncio.wait({task})
        raise
