"""Workers that go on until they are told to stop, and then stop."""

import asyncio
import contextlib
import logging
from typing import Any

import pytest
from servicekit.workers.base import LoopWorker
from servicekit.workers.supervisor import running_all
from testkit.eventually import time_limit


class Shaky(LoopWorker):
    """A worker whose steps fail as often as it is told."""

    def __init__(self, failures: int, pauses: tuple[float, float] = (0.001, 0.01)) -> None:
        super().__init__("shaky", pauses)
        self.failures = failures
        self.begun = 0
        self.steps = 0

    async def begin(self) -> None:
        self.begun += 1

    async def step(self) -> float:
        self.steps += 1
        if self.failures:
            self.failures -= 1
            raise OSError("gone")
        return 0.001


class HardOfHearing(Shaky):
    """A worker whose library swallows the first cancellation, as `asyncio.wait_for` of Python 3.11 may do."""

    async def step(self) -> float:
        self.steps += 1
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return 0


async def is_well(worker: LoopWorker) -> bool:
    return worker.healthy()


async def test_an_outage_is_logged_once_and_so_is_its_end(
    until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "servicekit.workers.base")
    worker = Shaky(failures=5)
    async with running_all([worker]):
        await until(lambda: asyncio.sleep(0, worker.steps > 6))
    assert [record.message for record in caplog.records] == ["worker is held up", "worker goes on"]
    assert worker.begun == 6


async def test_a_worker_is_unwell_until_a_step_succeeds(until: Any) -> None:
    worker = Shaky(failures=10**9)
    async with running_all([worker]):
        await until(lambda: asyncio.sleep(0, not worker.healthy()))
        worker.failures = 0
        await until(lambda: is_well(worker))


async def test_a_worker_does_not_hammer_what_is_away() -> None:
    worker = Shaky(failures=10**9, pauses=(3600, 3600))
    async with running_all([worker]):
        for _ in range(1000):
            await asyncio.sleep(0)
    assert worker.steps == 1


async def test_a_worker_stops_although_a_library_swallows_its_cancellation(until: Any) -> None:
    worker = HardOfHearing(failures=0)
    async with time_limit(), running_all([worker]):
        await until(lambda: asyncio.sleep(0, worker.steps))
    assert worker.steps == 1


async def test_relays_and_consumers_stop_at_whatever_moment(bus: Any) -> None:
    await bus.publish(*range(5))
    for moment in range(40):
        async with time_limit(), running_all([bus.relay(), bus.consumer()]):
            await asyncio.sleep(moment / 2000)


class Sleeper(Shaky):
    """A worker that would idle for an hour between two steps."""

    def __init__(self, wakeup: asyncio.Event) -> None:
        super().__init__(failures=0)
        self._wakeup = wakeup

    async def step(self) -> float:
        await super().step()
        return 3600


async def test_a_wakeup_is_a_reason_for_the_next_step_and_each_is_taken_once(until: Any) -> None:
    wakeup = asyncio.Event()
    worker = Sleeper(wakeup)
    async with running_all([worker]):
        for steps in (1, 2, 3):
            await until(lambda steps=steps: asyncio.sleep(0, worker.steps == steps))
            await asyncio.sleep(0.05)
            assert worker.steps == steps
            wakeup.set()
