"""Work that somebody may stop, and that may take so long."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def result_unless_stopped(
    work: Coroutine[Any, Any, T], stop: asyncio.Event, seconds: float
) -> T | None:
    """Return the result of work; none where it was stopped or took too long, once it is cancelled."""
    task = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopping}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        was_done = task.done()
        if not was_done:
            task.cancel()
            await asyncio.wait({task})
    return task.result() if was_done else None
