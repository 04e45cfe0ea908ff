"""One row: so many streams at once on one system, and what they took."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Self

from scripts.bench import timing, usage
from scripts.bench.client import Heard, Request, ask
from scripts.bench.systems import System
from scripts.bench.timing import Turn, percentile
from scripts.bench.usage import Parts, Spent

# What is done after the answer (the log of a run, the ledger) is part of its price.
SETTLE_SECONDS = 1.5
WATCH_SECONDS = 1.0


@dataclass(frozen=True)
class Load:
    """What is asked for: streams at once, turns in all, tokens of a turn and their rate (0: no delay)."""

    streams: int
    turns: int
    tokens: int
    rate: float
    ramp: float = 0.0
    patience: float = 120.0

    @property
    def words(self) -> str:
        """Say it to the sandbox's model."""
        return f"Please go on. [sandbox: tokens={self.tokens}, rate={self.rate:g}]"


@dataclass(frozen=True)
class Price:
    """What a load took: seconds, CPU time by part, memory at the peak beyond what was there before.

    Also how much of the machine went to what is none of this, as a share.
    """

    seconds: float
    cpu: Spent
    memory_kb: int
    others: float


@dataclass(frozen=True)
class Spread:
    """The middle and the slow end of many values; none where there were none."""

    p50: float | None
    p99: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Sum up values."""
        return cls(percentile(values, 0.5), percentile(values, 0.99))


@dataclass(frozen=True)
class Row:
    """What one load took on one system; times are in milliseconds, CPU time is that of one turn."""

    system: str
    streams: int
    rate: float
    turns: int
    failed: int
    failures: Mapping[str, int]
    first_token: Spread
    token_delay: Spread
    whole: Spread
    turns_per_second: float
    cpu: float
    cpu_by_group: Mapping[str, float]
    cpu_by_part: Mapping[str, float]
    memory_kb_per_stream: float
    machine_taken_by_others: float


async def measure(system: System, load: Load) -> Row:
    """Put a load on a system, and tell what it took."""
    request = await asyncio.to_thread(system.request, load.words)
    memory = usage.memory_kb(system.parts)
    before, others, began = usage.spent(system.parts), usage.others_ms(), time.monotonic()
    watch = asyncio.create_task(peak(system.parts))
    heard = await hold(request, load, repeat(None, max(load.turns, load.streams)))
    took = time.monotonic() - began
    taken = (usage.others_ms() - others) / (1000 * took * (os.cpu_count() or 1))
    watch.cancel()
    await asyncio.sleep(SETTLE_SECONDS)
    spent = difference(before, usage.spent(system.parts))
    price = Price(took, spent, max(0, await watch - memory), taken)
    read = [timing.read(one, system.dialect, load.tokens, load.rate) for one in heard]
    return row(system.name, load, read, price)


async def hold(request: Request, load: Load, turns: Iterable[None]) -> list[Heard]:
    """Hold turns, so many at once as there are streams, the first of each spread over the ramp."""
    left, heard = iter(turns), list[Heard]()
    await asyncio.gather(*(stream(request, load, number, left, heard) for number in range(load.streams)))
    return heard


async def stream(request: Request, load: Load, number: int, left: Iterator[None], heard: list[Heard]) -> None:
    """Hold one turn after the other while there are some left."""
    await asyncio.sleep(load.ramp * number / load.streams)
    for _ in left:
        heard.append(await ask(request, load.patience))


async def peak(parts: Parts) -> int:
    """Watch how much memory is used until cancelled, and give the most."""
    most = 0
    try:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            most = max(most, await asyncio.to_thread(usage.memory_kb, parts))
    except asyncio.CancelledError:
        return max(most, usage.memory_kb(parts))


async def idle(parts: Parts, seconds: float = 3.0) -> float:
    """Measure the CPU time that a system spends while nobody talks to it, in milliseconds a second."""
    before = usage.spent(parts)
    await asyncio.sleep(seconds)
    return sum(difference(before, usage.spent(parts)).values()) / seconds


def difference(before: Spent, after: Spent) -> Spent:
    """Tell what was spent between; raises RuntimeError when a process has ended, and its time with it."""
    if gone := [part for (group, part), ms in after.items() if ms < before[group, part]]:
        raise RuntimeError(f"{', '.join(gone)} has ended on the way")
    return {key: after[key] - before[key] for key in after}


def row(name: str, load: Load, read: Sequence[Turn], price: Price) -> Row:
    """Sum up; CPU time is shared among the turns that did not fail."""
    good = [turn for turn in read if not turn.failure]
    per_turn = {key: ms / max(1, len(good)) for key, ms in price.cpu.items()}
    delays = [delay for turn in good for delay in turn.delays]
    return Row(
        system=name,
        streams=load.streams,
        rate=load.rate,
        turns=len(read),
        failed=len(read) - len(good),
        failures=dict(Counter(turn.failure for turn in read if turn.failure)),
        first_token=Spread.of([turn.first_token for turn in good]),
        token_delay=Spread.of(delays),
        whole=Spread.of([turn.whole for turn in good]),
        turns_per_second=len(good) / price.seconds,
        cpu=sum(per_turn.values()),
        cpu_by_group={
            group: sum(ms for (one, _), ms in per_turn.items() if one == group) for group, _ in per_turn
        },
        cpu_by_part={part: ms for (_, part), ms in per_turn.items()},
        memory_kb_per_stream=price.memory_kb / load.streams,
        machine_taken_by_others=price.others,
    )
