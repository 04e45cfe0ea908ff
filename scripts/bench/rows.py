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
from scripts.bench.client import Exchange, Request, send
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
    timeout: float = 120.0

    @property
    def prompt(self) -> str:
        """The prompt for the sandbox's model."""
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
    def from_values(cls, values: Sequence[float]) -> Self:
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
    request = await asyncio.to_thread(system.build_request, load.prompt)
    memory = usage.memory_kb(system.parts)
    before, others, started_at = usage.cpu_spent(system.parts), usage.others_ms(), time.monotonic()
    watch = asyncio.create_task(peak_memory(system.parts))
    exchanges = await run_turns(request, load, repeat(None, max(load.turns, load.streams)))
    seconds = time.monotonic() - started_at
    others_share = (usage.others_ms() - others) / (1000 * seconds * (os.cpu_count() or 1))
    watch.cancel()
    await asyncio.sleep(SETTLE_SECONDS)
    spent = difference(before, usage.cpu_spent(system.parts))
    price = Price(seconds, spent, max(0, await watch - memory), others_share)
    read = [timing.parse_turn(one, system.dialect, load.tokens, load.rate) for one in exchanges]
    return row(system.name, load, read, price)


async def run_turns(request: Request, load: Load, turns: Iterable[None]) -> list[Exchange]:
    """Run turns, as many at once as there are streams, the first of each spread over the ramp."""
    remaining, exchanges = iter(turns), list[Exchange]()
    await asyncio.gather(
        *(run_stream(request, load, number, remaining, exchanges) for number in range(load.streams))
    )
    return exchanges


async def run_stream(
    request: Request, load: Load, number: int, remaining: Iterator[None], exchanges: list[Exchange]
) -> None:
    """Run one turn after the other while there are some left."""
    await asyncio.sleep(load.ramp * number / load.streams)
    for _ in remaining:
        exchanges.append(await send(request, load.timeout))


async def peak_memory(parts: Parts) -> int:
    """Watch how much memory is used until cancelled, and give the most."""
    peak = 0
    try:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            peak = max(peak, await asyncio.to_thread(usage.memory_kb, parts))
    except asyncio.CancelledError:
        return max(peak, usage.memory_kb(parts))


async def measure_idle(parts: Parts, seconds: float = 3.0) -> float:
    """Measure the CPU time that a system spends while nobody talks to it, in milliseconds a second."""
    before = usage.cpu_spent(parts)
    await asyncio.sleep(seconds)
    return sum(difference(before, usage.cpu_spent(parts)).values()) / seconds


def difference(before: Spent, after: Spent) -> Spent:
    """Return what was spent between; raises RuntimeError when a process has ended, and its time with it."""
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
        first_token=Spread.from_values([turn.first_token for turn in good]),
        token_delay=Spread.from_values(delays),
        whole=Spread.from_values([turn.whole for turn in good]),
        turns_per_second=len(good) / price.seconds,
        cpu=sum(per_turn.values()),
        cpu_by_group={
            group: sum(ms for (one, _), ms in per_turn.items() if one == group) for group, _ in per_turn
        },
        cpu_by_part={part: ms for (_, part), ms in per_turn.items()},
        memory_kb_per_stream=price.memory_kb / load.streams,
        machine_taken_by_others=price.others,
    )
