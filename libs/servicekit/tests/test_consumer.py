"""Out of the stream and handled: once, whatever fails, and nothing silently given up."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import REGISTRY
from servicekit.context import current
from servicekit.events.dead_letters import (
    DeadLetterNotFound,
    drop_dead_letter,
    get_dead_letter,
    list_dead_letters,
    replay_dead_letter,
)
from servicekit.events.outbox import ReceivedEvent
from servicekit.events.relay import RetryPolicy
from servicekit.workers.supervisor import Worker, running_all
from sqlalchemy.ext.asyncio import AsyncSession

NEVER = 3600.0
ALWAYS = 10**9


def handled(result: str, type_: str = "auth.thing.counted.v1") -> float:
    labels = {"service": "notification", "type": type_, "result": result}
    return REGISTRY.get_sample_value("events_handled_total", labels) or 0


class Handler:
    """A handler that goes wrong as often as it is told, and then leaves its row."""

    def __init__(self, bus: Any, failures: int = 0, only: int | None = None) -> None:
        self.bus = bus
        self.failures = failures
        self.only = only
        self.calls: list[int] = []

    async def __call__(self, session: AsyncSession, received: ReceivedEvent) -> None:
        number: Any = received.data["number"]
        self.calls.append(number)
        await self.bus.note(session, received)
        if self.failures and self.only in {None, number}:
            self.failures -= 1
            raise RuntimeError("the mail server is down")


class Gate:
    """A handler that says when it has begun, and waits to be let go."""

    def __init__(self, bus: Any) -> None:
        self.bus = bus
        self.begun = asyncio.Event()
        self.open = asyncio.Event()
        self.calls = 0

    async def __call__(self, session: AsyncSession, received: ReceivedEvent) -> None:
        self.calls += 1
        await self.bus.note(session, received)
        self.begun.set()
        await self.open.wait()


@asynccontextmanager
async def killable(worker: Worker) -> AsyncIterator[Callable[[], None]]:
    """Run a worker, and give what cancels it."""
    task = asyncio.create_task(worker.run())
    yield task.cancel
    task.cancel()
    await asyncio.wait({task})


async def test_an_event_has_its_effect(bus: Any, until: Any) -> None:
    before = handled("handled")
    await bus.publish(1, 2, 3)
    async with running_all([bus.relay(), bus.consumer()]):
        await until(lambda: bus.settled(1, 2, 3))
    assert handled("handled") == before + 3


async def test_what_was_published_before_the_first_reader_came_is_read(bus: Any, until: Any) -> None:
    await bus.add(1)
    async with running_all([bus.consumer()]):
        await until(lambda: bus.settled(1))


async def test_the_same_event_twice_has_one_effect(bus: Any, until: Any) -> None:
    before, event_id = handled("duplicate"), uuid4()
    for _ in range(3):
        await bus.add(7, event_id)
    async with running_all([bus.consumer()]):
        await until(lambda: bus.settled(7))
    assert handled("duplicate") == before + 2


async def test_many_consumers_and_many_duplicates_have_one_effect_each(bus: Any, until: Any) -> None:
    ids = [uuid4() for _ in range(40)]
    for _ in range(3):
        for number, event_id in enumerate(ids):
            await bus.add(number, event_id)
    async with running_all([bus.consumer() for _ in range(4)]):
        await until(lambda: bus.settled(*range(40)))


async def test_an_event_that_is_claimed_while_it_is_handled_has_one_effect(bus: Any, until: Any) -> None:
    gate = Gate(bus)
    await bus.add(1)
    async with running_all([bus.consumer(gate), bus.consumer(gate)]):
        await gate.begun.wait()
        await until(lambda: delivered_again(bus))
        gate.open.set()
        await until(lambda: bus.settled(1))
    assert gate.calls == 1


async def delivered_again(bus: Any) -> bool:
    return any(times > 1 for _, times in await bus.pending())


async def test_an_event_that_nobody_handles_is_done_with(bus: Any, until: Any) -> None:
    before = handled("ignored", "other")
    await bus.add(1, type="auth.thing.forgotten.v1")
    async with running_all([bus.consumer()]):
        await until(bus.delivered_all)
    assert handled("ignored", "other") == before + 1
    assert not await bus.effects()


async def test_a_handler_that_fails_leaves_nothing_and_is_called_again(bus: Any, until: Any) -> None:
    handler = Handler(bus, failures=3)
    await bus.add(1)
    async with running_all([bus.consumer(handler)]):
        await until(lambda: bus.settled(1))
    assert handler.calls == [1, 1, 1, 1]


async def test_a_retry_does_not_wait_for_a_new_event(bus: Any, until: Any) -> None:
    # Far more than the whole test may take, if a new event were waited for that long.
    patience = {"block": NEVER}
    await bus.add(1)
    async with running_all([bus.consumer(Handler(bus, failures=2), **patience)]):
        await until(lambda: bus.settled(1))


async def test_a_retry_does_not_delay_later_events_so_order_is_not_preserved(bus: Any, until: Any) -> None:
    handler = Handler(bus, failures=ALWAYS, only=1)
    for number in (1, 2):
        await bus.add(number)
    async with running_all([bus.consumer(handler, max_deliveries=ALWAYS)]):
        await until(lambda: asyncio.sleep(0, 2 in handler.calls))
        handler.failures = 0
        await until(lambda: bus.settled(1, 2))
    assert (handler.calls[0], handler.calls[-1]) == (1, 1)


def test_the_pauses_between_retries_grow_up_to_a_limit() -> None:
    patience = RetryPolicy(first_retry=2, last_retry=900)
    assert [patience.before_retry(deliveries) for deliveries in range(1, 8)] == [2, 8, 32, 128, 512, 900, 900]
    assert patience.before_retry(10_000) == 900


async def test_poison_ends_as_a_dead_letter_and_lets_others_pass(bus: Any, until: Any) -> None:
    handler = Handler(bus, failures=99, only=1)
    poison, _ = await bus.add(1), await bus.add(2)
    async with running_all([bus.consumer(handler, max_deliveries=3)]):
        await until(lambda: bus.settled(2))
    [letter] = await list_dead_letters(bus.redis, "notification")
    assert handler.calls.count(1) == 3
    assert (letter.deliveries, letter.stream) == (3, "events:auth")
    assert letter.reason == "RuntimeError: the mail server is down"
    assert [(poison, letter.fields)] == await bus.redis.xrange(bus.stream, poison, poison)


async def test_a_dead_letter_can_be_replayed(bus: Any, until: Any) -> None:
    handler = Handler(bus, failures=1)
    await bus.add(1)
    async with running_all([bus.consumer(handler, max_deliveries=1)]):
        await until(lambda: list_dead_letters(bus.redis, "notification"))
        [letter] = await list_dead_letters(bus.redis, "notification")
        await replay_dead_letter(bus.redis, "notification", letter.entry_id)
        await until(lambda: bus.settled(1))
    assert not await list_dead_letters(bus.redis, "notification")
    with pytest.raises(DeadLetterNotFound):
        await replay_dead_letter(bus.redis, "notification", letter.entry_id)


async def test_a_dead_letter_can_be_dropped(bus: Any, until: Any) -> None:
    handler = Handler(bus, failures=99, only=1)
    await bus.add(1)
    async with running_all([bus.consumer(handler, max_deliveries=1)]):
        await until(lambda: list_dead_letters(bus.redis, "notification"))
        [letter] = await list_dead_letters(bus.redis, "notification")
        assert await get_dead_letter(bus.redis, "notification", letter.entry_id) == letter
        await drop_dead_letter(bus.redis, "notification", letter.entry_id)
    assert not await list_dead_letters(bus.redis, "notification")
    assert handler.calls == [1]
    for entry_id in (letter.entry_id, "no id", "-"):
        with pytest.raises(DeadLetterNotFound):
            await drop_dead_letter(bus.redis, "notification", entry_id)


async def test_dead_letters_are_listed_in_pages(bus: Any, until: Any) -> None:
    for number in range(5):
        await bus.add(number)
    async with running_all([bus.consumer(Handler(bus, failures=99), max_deliveries=1)]):
        await until(bus.delivered_all)
    first = await list_dead_letters(bus.redis, "notification", count=3)
    rest = await list_dead_letters(bus.redis, "notification", count=3, after=first[-1].entry_id)
    assert [letter.fields[b"subject"] for letter in first + rest] == [b"thing:%d" % n for n in range(5)]


@pytest.mark.parametrize(
    "fields", [{"__data__": b"\x00\xff"}, {"specversion": "1.0"}, {b"\xfe\xff": b"\xff"}]
)
async def test_what_is_not_an_event_is_put_aside_at_once(bus: Any, until: Any, fields: Any) -> None:
    entry_id = await bus.redis.xadd(bus.stream, fields)
    await bus.add(2)
    async with running_all([bus.consumer()]):
        await until(lambda: bus.settled(2))
    [letter] = await list_dead_letters(bus.redis, "notification")
    assert letter.deliveries == 1
    assert "not an event" in letter.reason
    assert [(entry_id, letter.fields)] == await bus.redis.xrange(bus.stream, entry_id, entry_id)


async def test_an_event_that_kills_the_process_each_time_is_not_handled_for_ever(
    bus: Any, until: Any
) -> None:
    entry_id = await bus.add(1)
    await bus.redis.xgroup_create(bus.stream, "notification", id="0")
    await bus.redis.xreadgroup("notification", "notification@gone:1", {bus.stream: ">"})
    for _ in range(2):
        await bus.redis.xclaim(bus.stream, "notification", "notification@gone:2", 0, [entry_id])
    handler = Handler(bus)
    async with running_all([bus.consumer(handler, max_deliveries=3)]):
        await until(lambda: list_dead_letters(bus.redis, "notification"))
        await until(bus.delivered_all)
    assert not handler.calls


async def test_a_killed_consumers_event_is_rolled_back_and_handled_by_another(bus: Any, until: Any) -> None:
    gate = Gate(bus)
    await bus.add(1)
    async with killable(bus.consumer(gate, grace=0)) as kill:
        await gate.begun.wait()
        kill()
    assert not await bus.effects()
    assert [times for _, times in await bus.pending()] == [1]
    async with running_all([bus.consumer()]):
        await until(lambda: bus.settled(1))


async def test_a_consumer_that_is_stopped_ends_what_it_has_begun(bus: Any) -> None:
    gate = Gate(bus)
    await bus.add(1)
    await bus.add(2)
    async with killable(bus.consumer(gate, grace=NEVER)) as stop:
        await gate.begun.wait()
        stop()
        await asyncio.sleep(0)
        gate.open.set()
    assert await bus.effects() == [1]
    assert not await bus.pending()


async def test_a_handler_that_hangs_is_cut_off_and_called_again(bus: Any, until: Any) -> None:
    gate = Gate(bus)
    await bus.add(1)
    async with running_all([bus.consumer(gate, handling=0.05, max_deliveries=ALWAYS)]):
        await until(lambda: asyncio.sleep(0, gate.calls > 1))
        gate.open.set()
        await until(lambda: bus.settled(1))


async def test_events_that_vanish_before_they_are_handled_raise_an_alarm(
    bus: Any, until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    before = handled("lost", "other")
    gone = await bus.add(1)
    async with running_all([bus.consumer(Handler(bus, failures=ALWAYS), max_deliveries=ALWAYS)]):
        await until(lambda: delivered(bus))
        await bus.redis.xtrim(bus.stream, maxlen=0)
        await until(lambda: asyncio.sleep(0, handled("lost", "other") == before + 1))
        await until(lambda: nothing_pending(bus))
    [alarm] = [record for record in caplog.records if "events lost" in record.message]
    assert alarm.levelname == "ERROR"
    assert alarm.entries == [gone.decode()]  # type: ignore[attr-defined]


async def delivered(bus: Any) -> bool:
    return await bus.redis.exists(bus.stream) and bool(
        await bus.redis.xinfo_groups(bus.stream) and await bus.pending()
    )


async def nothing_pending(bus: Any) -> bool:
    return not await bus.pending()


async def test_a_group_that_redis_lost_is_made_again_from_the_beginning(bus: Any, until: Any) -> None:
    async with running_all([bus.consumer()]):
        await bus.add(1)
        await until(lambda: bus.settled(1))
        await bus.redis.flushall()
        await bus.add(2)
        await until(lambda: bus.settled(1, 2))


async def test_a_consumer_goes_by_its_service_host_and_process(bus: Any, until: Any) -> None:
    await bus.add(1)
    async with running_all([bus.consumer()]):
        await until(lambda: bus.settled(1))
    [consumer] = await bus.redis.xinfo_consumers(bus.stream, "notification")
    assert consumer["name"].decode() == f"notification@{socket.gethostname()}:{os.getpid()}"


async def test_dead_consumers_are_forgotten_unless_they_leave_something(bus: Any, until: Any) -> None:
    await bus.redis.xgroup_create(bus.stream, "notification", id="0", mkstream=True)
    await bus.redis.xgroup_createconsumer(bus.stream, "notification", "notification@gone:1")
    await bus.add(1)
    await bus.redis.xreadgroup("notification", "notification@gone:2", {bus.stream: ">"})

    async def names() -> set[bytes]:
        consumers = await bus.redis.xinfo_consumers(bus.stream, "notification")
        return {one["name"].split(b"@")[1] for one in consumers}

    async def only_the_other_is_left() -> bool:
        return b"gone:1" not in await names()

    async with running_all([bus.consumer(first_retry=NEVER, last_retry=NEVER, gone=0.02)]):
        await until(only_the_other_is_left)
        assert b"gone:2" in await names()
    assert len(await bus.pending()) == 1


async def test_a_handler_works_in_the_trace_of_the_publisher(bus: Any, until: Any) -> None:
    seen: dict[str, Any] = {}

    async def look(_session: AsyncSession, _received: ReceivedEvent) -> None:
        seen["trace"] = trace.get_current_span().get_span_context().trace_id
        seen["context"] = dict(current())

    with TracerProvider().get_tracer("test").start_as_current_span("request") as span:
        await bus.publish(1)
    async with running_all([bus.relay(), bus.consumer(look)]):
        await until(lambda: asyncio.sleep(0, seen))
    assert seen["trace"] == span.get_span_context().trace_id
    assert seen["context"]["tenant_id"] == "11111111-1111-4111-8111-111111111111"
    assert seen["context"]["correlation_id"]
