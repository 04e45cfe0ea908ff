"""Killing parts of a stack, one after the other."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from starter_cli.stack import Stack

from chaos.progress import Progress

POLL_SECONDS = 0.1


async def kill_all(stack: Stack, parts: Sequence[str], pause: float, progress: Progress) -> None:
    """Kill each part when it is its turn, as kill -9 does, and wait until it has been started again."""
    for part in parts:
        await asyncio.sleep(pause)
        await kill(stack, part, progress)


async def kill(stack: Stack, part: str, progress: Progress) -> None:
    """Kill one part and wait until it has been started again, which its keeper does."""
    before = stack.pid(part)
    progress.say(f"kill -9 {part} (process {before})")
    stack.kill(part)
    while stack.pid(part) in {None, before}:  # noqa: ASYNC110  # a thread starts it again
        await asyncio.sleep(POLL_SECONDS)


@asynccontextmanager
async def killing(
    stack: Stack, parts: Sequence[str], pause: float, progress: Progress
) -> AsyncIterator[None]:
    """Have parts killed meanwhile; those whose turn has not come are spared."""
    task = asyncio.create_task(kill_all(stack, parts, pause, progress))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
