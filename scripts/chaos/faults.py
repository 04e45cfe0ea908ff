"""What is done to the parts of a stack, one after the other."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starter_cli.stack import Stack

from scripts.chaos.progress import ProgressLog

POLL_SECONDS = 0.1
# Longer than a lease: whoever stands still for so long is taken for dead, and does not know it.
FROZEN_SECONDS = 10.0
KINDS = ("kill", "freeze")


@dataclass(frozen=True)
class Fault:
    """What happens to which part: `kill` as kill -9 does, or `freeze` for a while."""

    kind: str
    part: str

    def __str__(self) -> str:
        return f"{self.kind} {self.part}"

    @classmethod
    def parse(cls, words: str) -> "Fault":
        """Read one as it is written; raises ValueError."""
        kind, part = words.split()
        if kind not in KINDS:
            raise ValueError(words)
        return cls(kind, part)


async def inject_all(stack: Stack, faults: Sequence[Fault], pause: float, progress: ProgressLog) -> None:
    """Do each when it is its turn, and wait until the part works again."""
    for fault in faults:
        await asyncio.sleep(pause)
        await (kill if fault.kind == "kill" else freeze)(stack, fault.part, progress)


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


@asynccontextmanager
async def injecting(
    stack: Stack, faults: Sequence[Fault], pause: float, progress: ProgressLog
) -> AsyncIterator[None]:
    """Inject faults meanwhile; those whose turn has not come are left out."""
    task = asyncio.create_task(inject_all(stack, faults, pause, progress))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
