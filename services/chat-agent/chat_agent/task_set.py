"""Work in the background, which still ends when the process closes."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class TaskSet:
    """Tasks that nobody need wait for."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start work in the background."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self, timeout_seconds: float) -> None:
        """Wait until all tasks have ended, for `timeout_seconds`, and cancel the others."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
