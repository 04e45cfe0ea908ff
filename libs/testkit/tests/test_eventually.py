"""Waiting on a machine that stands still now and then."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from testkit.eventually import MAX_WAIT_SECONDS, time_limit, until, until_async

# More than all of what is waited.
STALL = 90.0


class Clock:
    """A clock that moves on by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Looks:
    """A condition that holds at the last of so many looks; `seconds` is how long each of them takes."""

    def __init__(self, clock: Clock, *seconds: float) -> None:
        self._clock, self._seconds, self.count = clock, seconds, 0

    def __call__(self) -> bool:
        self._clock.now += self._seconds[min(self.count, len(self._seconds) - 1)]
        self.count += 1
        return self.count >= len(self._seconds)

    async def later(self) -> bool:
        return self()


async def wait(looks: Looks, clock: Clock) -> None:
    until(looks, interval=0, clock=clock)


async def wait_async(looks: Looks, clock: Clock) -> None:
    await until_async(looks.later, interval=0, clock=clock)


async def wait_within_limit(looks: Looks, clock: Clock) -> None:
    async with time_limit(interval=0, clock=clock):
        while not looks():  # noqa: ASYNC110  # it is the clock that moves
            await asyncio.sleep(0)


@pytest.fixture(params=[wait, wait_async, wait_within_limit])
def waiting(request: pytest.FixtureRequest) -> Any:
    return request.param


async def test_several_looks_follow_a_stall(waiting: Callable[..., Any]) -> None:
    clock = Clock()
    looks = Looks(clock, STALL, *[0.1] * 20)
    await waiting(looks, clock)
    assert looks.count == 21


async def test_several_looks_may_hang(waiting: Callable[..., Any]) -> None:
    clock = Clock()
    await waiting(Looks(clock, *[STALL] * 8), clock)


async def test_ends_when_it_takes_too_long(waiting: Callable[..., Any]) -> None:
    clock = Clock()
    looks = Looks(clock, *[1.0] * 1000)
    with pytest.raises((AssertionError, TimeoutError)):
        await waiting(looks, clock)
    assert MAX_WAIT_SECONDS <= clock.now <= MAX_WAIT_SECONDS + 2


async def test_a_limit_lets_what_failed_through() -> None:
    with pytest.raises(ValueError, match="wrong"):
        async with time_limit():
            raise ValueError("wrong")


def test_tells_what_there_was_instead() -> None:
    clock = Clock()
    with pytest.raises(AssertionError, match="nothing came"):
        until(Looks(clock, *[5.0] * 99), interval=0, clock=clock, describe=lambda: "nothing came")
