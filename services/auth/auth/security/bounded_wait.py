"""Waits for the outcome of other requests, for a limited time and with limited numbers."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

MAX_SECONDS = 2.0
# A password is looked at in 25 ms.
PAUSE_SECONDS = 0.05
# In one process; each asks again after every pause.
MAX_WAITERS = 100


class BoundedWait:
    """Requests that wait here use no connection and no place in the queue of hashes."""

    def __init__(self) -> None:
        self._waiters = 0

    async def poll(self, decided: Callable[[], Awaitable[T | None]]) -> T | None:
        """Poll until there is a result; None on timeout, or with too many waiters."""
        if self._waiters >= MAX_WAITERS:
            return None
        self._waiters += 1
        try:
            return await self._poll(decided)
        finally:
            self._waiters -= 1

    async def _poll(self, decided: Callable[[], Awaitable[T | None]]) -> T | None:
        loop = asyncio.get_running_loop()
        end = loop.time() + MAX_SECONDS
        while loop.time() < end:
            await asyncio.sleep(PAUSE_SECONDS)
            if (outcome := await decided()) is not None:
                return outcome
        return None
