"""Waiting until something is so, for as long as it takes and no longer.

A machine that stands still for a minute, or one look that hangs, does not use the time up:
several looks follow every pause.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from sandbox.running_time import Clock, RunningTime

Result = TypeVar("Result")

# On a machine that does much else, and longer than two polls of the slowest worker, which come each minute;
# a test that passes waits for none of it.
MAX_WAIT_SECONDS = 150.0
# For a process that imports a service, which takes seconds of a processor of which it may get a tenth.
MAX_START_SECONDS = 180.0
# Of the time between two looks, whatever it was spent on.
MAX_SECONDS_PER_LOOK = 5.0


def until(
    condition: Callable[[], Result],
    seconds: float = MAX_WAIT_SECONDS,
    *,
    interval: float = 0.02,
    describe: Callable[[], object] | None = None,
    clock: Clock = time.monotonic,
) -> Result:
    """Wait until a condition holds, and return its result; fail, saying `describe()`, when it is late."""
    waited = RunningTime(MAX_SECONDS_PER_LOOK, clock)
    while not (result := condition()):
        assert waited.count() < seconds, describe() if describe else late(result, seconds)
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
    waited = RunningTime(MAX_SECONDS_PER_LOOK, clock)
    while not (result := await condition()):
        assert waited.count() < seconds, late(result, seconds)
        await asyncio.sleep(interval)
    return result


@contextlib.asynccontextmanager
async def time_limit(
    seconds: float = MAX_WAIT_SECONDS, *, interval: float = 0.5, clock: Clock = time.monotonic
) -> AsyncIterator[None]:
    """Cancel what takes too long, as `asyncio.timeout` does; raises TimeoutError."""
    async with asyncio.timeout(None) as timeout:
        waited = RunningTime(MAX_SECONDS_PER_LOOK, clock)

        async def watch() -> None:
            while waited.count() < seconds:  # noqa: ASYNC110  # it is the clock that moves
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
