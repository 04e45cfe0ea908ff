"""What is done to the parts of a stack, one after the other."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg  # type: ignore[import-untyped]  # it ships no types
from redis.asyncio import Redis
from starter_cli.stack import Stack

from scripts.chaos.progress import ProgressLog

POLL_SECONDS = 0.1
# Longer than a lease: whoever stands still for so long is taken for dead, and does not know it.
FROZEN_SECONDS = 10.0
STOPPED_SECONDS = 10.0
# About as long as a failover takes.
READ_ONLY_SECONDS = 5.0


@dataclass(frozen=True)
class Fault:
    """What happens to which part; see KINDS."""

    kind: str
    part: str

    def __str__(self) -> str:
        return f"{self.kind} {self.part}"

    @classmethod
    def parse(cls, words: str) -> "Fault":
        """Read one as it is written; raises ValueError."""
        kind, part = words.split()
        if kind not in KINDS or part != ONLY_OF.get(kind, part):
            raise ValueError(words)
        return cls(kind, part)


async def inject_all(
    stack: Stack,
    faults: Sequence[Fault],
    pause: float,
    progress: ProgressLog,
    flushes: list[float] | None = None,
) -> None:
    """Do each when it is its turn, and wait until the part works again; note when Redis was emptied."""
    for fault in faults:
        await asyncio.sleep(pause)
        if fault.kind == "flush" and flushes is not None:
            flushes.append(time.monotonic())
        await KINDS[fault.kind](stack, fault.part, progress)


async def kill(stack: Stack, part: str, progress: ProgressLog) -> None:
    """Kill one part and wait until it has been started again, which its supervisor does."""
    before = stack.pid(part)
    progress.print_line(f"kill -9 {part} (process {before})")
    stack.kill(part)
    while stack.pid(part) in {None, before}:  # noqa: ASYNC110  # a thread starts it again
        await asyncio.sleep(POLL_SECONDS)


async def freeze(stack: Stack, part: str, progress: ProgressLog) -> None:
    """Suspend one component for a while."""
    progress.print_line(f"{part} stands still for {FROZEN_SECONDS:g} seconds (process {stack.pid(part)})")
    with stack.frozen(part):
        await asyncio.sleep(FROZEN_SECONDS)


async def stop(stack: Stack, part: str, progress: ProgressLog) -> None:
    """Stop one component for a while, and start it again."""
    progress.print_line(f"{part} is stopped for {STOPPED_SECONDS:g} seconds")
    stopped = stack.stopped(part)
    await asyncio.to_thread(stopped.__enter__)
    try:
        await asyncio.sleep(STOPPED_SECONDS)
    finally:
        await asyncio.to_thread(stopped.__exit__, None, None, None)


async def flush(stack: Stack, part: str, progress: ProgressLog) -> None:
    """Delete all that Redis has, as when it is replaced by an empty one."""
    progress.print_line(f"{part} forgets everything")
    async with Redis.from_url(stack.layout.valkey.url) as redis:
        await redis.flushall()
        await redis.script_flush()


async def refuse_writes(stack: Stack, part: str, progress: ProgressLog) -> None:
    """Cut all connections to Postgres, and have it take no writes for a while, as in a failover."""
    progress.print_line(f"{part} takes no writes for {READ_ONLY_SECONDS:g} seconds")
    admin = await asyncpg.connect(stack.layout.postgres.admin_url)
    try:
        await set_read_only(admin, "on")
        await admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where backend_type = 'client backend' and pid <> pg_backend_pid()"
        )
        await asyncio.sleep(READ_ONLY_SECONDS)
    finally:
        await set_read_only(admin, "off")
        await admin.close()


async def set_read_only(admin: asyncpg.Connection, word: str) -> None:
    """Change whether the sessions of a server may write, also those that are open."""
    await admin.execute(f"alter system set default_transaction_read_only = {word}")
    await admin.execute("select pg_reload_conf()")


KINDS: Mapping[str, Callable[[Stack, str, ProgressLog], Awaitable[None]]] = {
    "kill": kill,
    "freeze": freeze,
    "stop": stop,
    "flush": flush,
    "refuse-writes": refuse_writes,
}
# Parts of which alone a kind can happen.
ONLY_OF = {"flush": "valkey", "refuse-writes": "postgres"}


@asynccontextmanager
async def injecting(
    stack: Stack, faults: Sequence[Fault], pause: float, progress: ProgressLog, flushes: list[float]
) -> AsyncIterator[None]:
    """Inject faults meanwhile, and note when Redis was emptied; leave out those whose turn has not come."""
    task = asyncio.create_task(inject_all(stack, faults, pause, progress, flushes))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
