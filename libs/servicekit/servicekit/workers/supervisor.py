"""Runs a service's workers (relays, consumers, senders) beside the API or in a process of their own."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from servicekit import context
from servicekit.backoff import exponential, jittered

logger = logging.getLogger(__name__)

RESTART_SECONDS = (1.0, 30.0)


class Worker(Protocol):
    """A background task that runs for as long as the process."""

    name: str

    async def run(self) -> None:
        """Work until cancelled."""

    def healthy(self) -> bool:
        """Return whether the worker makes progress."""


@contextlib.asynccontextmanager
async def running_all(workers: Sequence[Worker]) -> AsyncIterator[None]:
    """Run workers in the background, each restarted when it fails, and end them all on leaving."""
    tasks = [asyncio.create_task(supervise(worker), name=worker.name) for worker in workers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def supervise(worker: Worker) -> None:
    """Run one worker for ever; a failure is logged and followed by a new start."""
    failures = 0
    while True:
        started = time.monotonic()
        try:
            with context.scope(worker_id=worker.name):
                await worker.run()
        except Exception:
            logger.exception("worker failed", extra={"worker": worker.name})
        has_run_long = time.monotonic() - started > RESTART_SECONDS[1]
        failures = 1 if has_run_long else failures + 1
        await asyncio.sleep(jittered(exponential(failures, *RESTART_SECONDS)))


class WorkerStopped(Exception):
    """A worker makes no progress."""


async def check_health(worker: Worker) -> None:
    """Raise unless the worker is healthy; for `/readyz`."""
    if not worker.healthy():
        raise WorkerStopped(worker.name)
