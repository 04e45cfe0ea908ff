"""Responses that take the same time, whatever their cause.

What was found inside may be told by the answer alone, never by the clock. So an answer leaves at the end of a
period that is longer than the work: of the first if the work is done by then, as it nearly always is, or of a
later one where the machine is busy. A request that waits holds no connection, no thread and no lock.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from servicekit.errors import ServiceError


class ResponseClock:
    """Periods of so many seconds, from now on; without any, nothing waits."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # Not the loop's time, which stands still while the loop is busy.
        self._begun = time.monotonic()

    async def wait(self) -> None:
        """Wait for the end of the present period."""
        if self._seconds:
            passed = time.monotonic() - self._begun
            await asyncio.sleep(self._seconds - passed % self._seconds)


@asynccontextmanager
async def minimum_duration(seconds: float) -> AsyncIterator[None]:
    """Delay the end of the block to the end of a period, also for errors."""
    pace = ResponseClock(seconds)
    try:
        yield
    finally:
        await pace.wait()


@asynccontextmanager
async def minimum_error_duration(seconds: float) -> AsyncIterator[None]:
    """Delay errors to the end of a period; success is not delayed."""
    pace = ResponseClock(seconds)
    try:
        yield
    except ServiceError:
        await pace.wait()
        raise
