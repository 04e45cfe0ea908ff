"""Waiting until something is so, for as long as it takes and no longer."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

Result = TypeVar("Result")

# On a machine that does much else; a test that passes waits for none of it.
MAX_WAIT_SECONDS = 60.0


def until(
    condition: Callable[[], Result],
    seconds: float = MAX_WAIT_SECONDS,
    *,
    interval: float = 0.02,
    describe: Callable[[], object] | None = None,
) -> Result:
    """Wait until a condition holds, and return its result; fail, saying `describe()`, when it is late."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, describe() if describe else late(result, seconds)
        time.sleep(interval)
    return result


async def until_async(
    condition: Callable[[], Awaitable[Result]], seconds: float = MAX_WAIT_SECONDS, *, interval: float = 0.05
) -> Result:
    """Wait until an awaited condition holds, and return what it returned; fail when it is late."""
    deadline = time.monotonic() + seconds
    while not (result := await condition()):
        assert time.monotonic() < deadline, late(result, seconds)
        await asyncio.sleep(interval)
    return result


def late(result: object, seconds: float) -> str:
    """Describe a condition that did not hold in time."""
    return f"still {result!r} after {seconds:g} seconds"
