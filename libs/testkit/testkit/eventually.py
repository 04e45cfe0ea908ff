"""Waiting until something is so, for as long as it takes and no longer.

A machine that stands still for a minute, or one look that hangs, does not use the time up:
several looks follow every pause.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

Result = TypeVar("Result")
Clock = Callable[[], float]

# On a machine that does much else; a test that passes waits for none of it.
MAX_WAIT_SECONDS = 60.0
# Of the time between two looks, whatever it was spent on.
MAX_SECONDS_PER_LOOK = 5.0


class Countdown:
    """The time that is left to wait, of which a pause uses up a few seconds at most."""

    def __init__(self, seconds: float, clock: Clock = time.monotonic) -> None:
        self._left, self._clock, self._last = seconds, clock, clock()

    def is_over(self) -> bool:
        """Count the time since the last look, and return whether none is left."""
        now = self._clock()
        self._left -= min(now - self._last, MAX_SECONDS_PER_LOOK)
        self._last = now
        return self._left <= 0


def until(
    condition: Callable[[], Result],
    seconds: float = MAX_WAIT_SECONDS,
    *,
    interval: float = 0.02,
    describe: Callable[[], object] | None = None,
    clock: Clock = time.monotonic,
) -> Result:
    """Wait until a condition holds, and return its result; fail, saying `describe()`, when it is late."""
    countdown = Countdown(seconds, clock)
    while not (result := condition()):
        assert not countdown.is_over(), describe() if describe else late(result, seconds)
        time.sleep(interval)
    return result


async def until_async(
    condition: Callable[[], Awaitable[Result]],
    seconds: float = MAX_WAIT_SECONDS,
    *,
    interval: float = 0.05,
    clock: Clock = time.monotonic,
) -> Result:
    """Wait until an awaited condition holds, and return what it returned; fail when it is late."""
    countdown = Countdown(seconds, clock)
    while not (result := await condition()):
        assert not countdown.is_over(), late(result, seconds)
        await asyncio.sleep(interval)
    return result


@contextlib.asynccontextmanager
async def time_limit(
    seconds: float = MAX_WAIT_SECONDS, *, interval: float = 0.5, clock: Clock = time.monotonic
) -> AsyncIterator[None]:
    """Cancel what takes too long, as `asyncio.timeout` does; raises TimeoutError."""
    async with asyncio.timeout(None) as timeout:
        countdown = Countdown(seconds, clock)

        async def watch() -> None:
            while not countdown.is_over():  # noqa: ASYNC110  # it is the clock that moves
                await asyncio.sleep(interval)
            timeout.reschedule(asyncio.get_running_loop().time())

        watching = asyncio.create_task(watch())
        try:
            yield
        finally:
            watching.cancel()


def late(result: object, seconds: float) -> str:
    """Describe a condition that did not hold in time."""
    return f"still {result!r} after {seconds:g} seconds"
