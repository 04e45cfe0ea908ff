"""Many waits with one timer: each has its time, and whoever else cancels the task is not mistaken for it."""

import asyncio
from collections.abc import Callable

import pytest
from chat_agent.model.wait_limit import WaitLimit

PassTime = Callable[[float], None]


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> PassTime:
    """Return a function that lets so many seconds pass at once, for all that waits in this loop."""

    def jump(seconds: float) -> None:
        loop = asyncio.get_running_loop()
        clock = loop.time
        monkeypatch.setattr(loop, "time", lambda: clock() + seconds)

    return jump


async def test_a_wait_that_is_too_long_times_out(pass_time: PassTime) -> None:
    limit = WaitLimit(60)
    for _ in range(2):
        asyncio.get_running_loop().call_later(0.01, pass_time, 61)
        with pytest.raises(TimeoutError), limit:
            await asyncio.Event().wait()
    limit.close()


async def test_each_wait_has_the_whole_time_and_what_is_between_them_does_not_count(
    pass_time: PassTime,
) -> None:
    limit = WaitLimit(60)
    for _ in range(3):
        with limit:
            pass_time(40)
            await asyncio.sleep(0.01)
        pass_time(100)
        await asyncio.sleep(0.01)
    limit.close()


async def test_a_later_wait_times_out_too(pass_time: PassTime) -> None:
    limit = WaitLimit(60)
    with limit:
        pass_time(40)
        await asyncio.sleep(0.01)
    asyncio.get_running_loop().call_later(0.01, pass_time, 61)
    with pytest.raises(TimeoutError), limit:
        await asyncio.Event().wait()
    limit.close()


@pytest.mark.parametrize("seconds", [0, 61])
async def test_a_cancelled_task_is_cancelled_also_when_the_time_is_over(
    seconds: float, pass_time: PassTime
) -> None:
    limit, is_waiting = WaitLimit(60), asyncio.Event()

    async def wait() -> None:
        with limit:
            is_waiting.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await is_waiting.wait()
    task.cancel()
    pass_time(seconds)
    with pytest.raises(asyncio.CancelledError):
        await task
    limit.close()


async def test_other_errors_and_the_end_of_the_time_leave_the_task_as_it_was() -> None:
    limit = WaitLimit(60)
    with pytest.raises(ValueError, match="bad"), limit:
        raise ValueError("bad")
    limit.close()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_no_timer_stays_behind() -> None:
    limit = WaitLimit(3600)
    with limit:
        await asyncio.sleep(0)
    limit.close()
    assert limit._timer is None
