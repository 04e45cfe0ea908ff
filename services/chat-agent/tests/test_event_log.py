"""The log of a run: every reader gets every event once and in order, whatever Redis goes through."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from chat_agent.event_log.buffer import WINDOW, EventBuffer
from chat_agent.event_log.store import (
    SUPERSEDED,
    EventSource,
    EventStore,
    RunEvent,
    make_event,
    parse_entries,
)
from chat_agent.event_log.writer import EventWriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sandbox.embedded import Valkey
from servicekit.redis_client import raising_connection_error
from testkit.eventually import time_limit
from testkit.proxy import Proxy

CONVERSATION, NOW = uuid4(), datetime(2026, 1, 2, tzinfo=UTC)
# As a failover does to a follower that has not heard everything: the newest entries were never there.
LOSE_TAIL = """
local all = redis.call('XRANGE', KEYS[1], '-', '+')
redis.call('DEL', KEYS[1])
for at = 1, #all - tonumber(ARGV[1]) do
    redis.call('XADD', KEYS[1], all[at][1], unpack(all[at][2]))
end
"""


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


@contextlib.asynccontextmanager
async def recording(redis: Redis) -> AsyncIterator[EventWriter]:
    """Have a recorder at work."""
    recorder = EventWriter(redis)
    work = asyncio.create_task(recorder.run())
    try:
        yield recorder
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


def log_at(recorder: EventWriter, redis: Redis, run_id: UUID | None = None, attempt: int = 1) -> EventBuffer:
    recorded = EventStore(redis, run_id or uuid4())
    return EventBuffer(
        UUID(recorded.keys[0].split("{")[1][:36]),
        CONVERSATION,
        recorded,
        attempt=attempt,
        ttl_seconds=60,
        mark_dirty=recorder.mark_dirty,
    )


def append_text(log: EventBuffer, item: int, text: str) -> None:
    log.append("message.delta", item_id=f"item_{item}", delta=text)


async def read(source: EventSource, after: int) -> list[RunEvent]:
    """Read from a place on, as readers do: to the end, and again when the connection breaks."""
    received: list[RunEvent] = []
    while not received or not received[-1].is_terminal:
        try:
            received += await source.after(received[-1].seq if received else after)
        except RedisError:
            await asyncio.sleep(0.01)
    return received


def texts(received: Sequence[RunEvent]) -> dict[str, str]:
    """Return what was said, by item."""
    output: dict[str, str] = {}
    for event in received:
        if event.type == "message.delta":
            data: Any = event.json()
            output[data["item_id"]] = output.get(data["item_id"], "") + data["delta"]
    return output


async def soon(work: Awaitable[Any]) -> Any:
    """Return what comes, or fail."""
    async with time_limit():
        return await work


class Story:
    """A log, and what becomes of it and of its readers."""

    def __init__(self, log: EventBuffer, recorder: EventWriter, fate: Redis) -> None:
        self.log, self.recorder, self.fate = log, recorder, fate
        self.output: dict[str, str] = {}
        self.readers: list[tuple[int, asyncio.Task[list[RunEvent]]]] = []

    async def say(self, item: int) -> None:
        piece = f"{len(self.output.get(f'item_{item}', ''))} "
        append_text(self.log, item, piece)
        self.output[f"item_{item}"] = self.output.get(f"item_{item}", "") + piece

    async def finish(self, item: int) -> None:
        self.log.append("item.completed", item={"id": f"item_{item}"})

    async def record(self, _: int) -> None:
        assert await soon(self.recorder.flush(self.log, 5))

    async def breathe(self, _: int) -> None:
        await asyncio.sleep(0)

    async def read_here(self, at: int) -> None:
        await self._read(self.log, at)

    async def read_there(self, at: int) -> None:
        await self._read(self.log.store, at)

    async def _read(self, source: EventSource, at: int) -> None:
        newest = await EventStore(self.fate, self.log.run_id).last()
        after = newest.seq * at // 9 if newest else 0
        self.readers.append((after, asyncio.create_task(read(source, after))))

    async def lose_tail(self, much: int) -> None:
        await self.fate.eval(LOSE_TAIL, 1, self.log.store.keys[0], much)

    async def lose_all(self, _: int) -> None:
        await self.fate.flushall()

    async def break_off(self, _: int) -> None:
        await self.fate.execute_command("CLIENT KILL TYPE normal SKIPME yes")

    async def forget_scripts(self, _: int) -> None:
        await self.fate.script_flush()


HAPPENINGS = [
    *(Story.say, Story.say, Story.finish, Story.record, Story.breathe, Story.read_here, Story.read_there),
    *(Story.lose_tail, Story.lose_all, Story.break_off, Story.forget_scripts),
]


@given(happenings=st.lists(st.tuples(st.sampled_from(HAPPENINGS), st.integers(1, 9)), max_size=50))
@settings(
    max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_every_reader_gets_every_event_once(redis_url: str, happenings: list[Any]) -> None:
    async with (
        Redis.from_url(redis_url, retry=None) as redis,
        Redis.from_url(redis_url) as fate,
        recording(redis) as recorder,
    ):
        redis.connection_pool.connection_class = raising_connection_error(
            redis.connection_pool.connection_class
        )
        story = Story(log_at(recorder, redis), recorder, fate)
        story.log.append("run.started")
        for happening, much in happenings:
            await happening(story, much)
        story.log.append("run.completed")
        assert await soon(recorder.flush(story.log, 5))
        received = await soon(read(story.log, 0))
        assert [event.seq for event in received] == list(range(1, len(received) + 1))
        assert [event.type for event in received if event.is_terminal] == ["run.completed"]
        assert texts(received) == story.output
        assert await EventStore(fate, story.log.run_id).all() == received
        for after, reader in story.readers:
            assert await soon(reader) == received[after:]


async def test_pieces_of_one_text_become_one_event_and_those_of_two_do_not(redis: Redis) -> None:
    log = log_at(EventWriter(redis), redis)
    for item, text in ((1, "a"), (1, "b"), (2, "c"), (1, "d")):
        append_text(log, item, text)
    log.append("reasoning.delta", item_id="item_1", delta="e")
    log.append("reasoning.delta", item_id="item_1", delta="f")
    log.append("item.completed", item={"id": "item_1"})
    append_text(log, 1, "g")
    received = [event.json() for event in log.unacknowledged()]
    assert [one.get("delta") for one in received] == ["ab", "c", "d", "ef", None, "g"]
    append_text(log, 1, "h")
    # What has a number, and may be on its way, is not changed any more.
    assert [event.json().get("delta") for event in log.unacknowledged()][-2:] == ["g", "h"]


async def test_nothing_comes_after_the_end(redis: Redis) -> None:
    log = log_at(EventWriter(redis), redis)
    log.append("run.completed")
    with pytest.raises(AssertionError, match=r"run\.failed after the end"):
        log.append("run.failed")


async def test_the_newest_events_are_buffered_and_the_rest_is_read_from_redis(redis: Redis) -> None:
    async with recording(redis) as recorder:
        log = log_at(recorder, redis)
        for number in range(5 * WINDOW):
            append_text(log, number % 2, "x")
            if number % 100 == 0:
                await soon(recorder.flush(log, 5))
                assert len(log._window) <= 2 * WINDOW
        log.append("run.completed")
        received = await soon(read(log, 0))
    assert [event.seq for event in received] == list(range(1, 5 * WINDOW + 2))


async def test_what_is_lost_for_good_does_not_hold_readers_up(redis: Redis) -> None:
    async with recording(redis) as recorder:
        log = log_at(recorder, redis)
        for number in range(3 * WINDOW):
            append_text(log, number % 2, "x")
        await soon(recorder.flush(log, 5))
        begin = log._window[0].seq
        await redis.flushall()
        log.append("run.completed")
        assert await soon(recorder.flush(log, 5))
        here, there = await soon(read(log, 0)), await soon(read(EventStore(redis, log.run_id), 0))
    assert here == there
    assert [event.seq for event in here] == list(range(begin, 3 * WINDOW + 2))


async def test_who_goes_on_with_a_lost_log_lets_its_readers_wait(redis: Redis) -> None:
    async with recording(redis) as recorder:
        log = log_at(recorder, redis, attempt=2)
        log.start_after(10)
        reader = asyncio.create_task(log.after(3))
        done, _ = await asyncio.wait({reader}, timeout=0.2)
        assert not done
        log.append("run.resumed")
        await soon(reader)
        assert [event.seq for event in await soon(log.after(3))] == [11]


async def test_an_older_writer_adds_nothing_any_more(redis: Redis) -> None:
    async with recording(redis) as recorder:
        run_id = uuid4()
        older = log_at(recorder, redis, run_id)
        append_text(older, 1, "one")
        assert await soon(recorder.flush(older, 5))
        newer = EventStore(redis, run_id)
        assert await newer.append(2, 60) == 1
        append_text(older, 1, "two")
        assert await soon(older.after(1)) == []
        assert older.is_detached
        append_text(older, 1, "three")
        assert older.is_flushed
        event = make_event(2, "run.completed", run_id, CONVERSATION, {}, NOW)
        assert await newer.append(1, 60, [event]) == SUPERSEDED
        assert await newer.append(2, 60, [event]) == 2
        assert [one.type for one in await newer.all()] == ["message.delta", "run.completed"]


async def test_an_event_that_is_sent_twice_is_there_once(redis: Redis) -> None:
    log = EventStore(redis, uuid4())
    event = make_event(1, "run.started", uuid4(), CONVERSATION, {}, NOW)
    assert [await log.append(1, 60, [event]) for _ in "12"] == [1, 1]
    assert await log.all() == [event]


async def test_events_are_not_added_behind_a_hole(redis: Redis) -> None:
    log = EventStore(redis, uuid4())
    event = make_event(7, "run.completed", uuid4(), CONVERSATION, {}, NOW)
    assert await log.append(1, 60, [event]) == 0
    assert await log.all() == []


async def test_one_log_that_cannot_be_written_does_not_hold_up_others(redis: Redis) -> None:
    async with recording(redis) as recorder:
        broken, sound = log_at(recorder, redis), log_at(recorder, redis)
        await redis.set(broken.store.keys[0], "not a log")
        append_text(broken, 1, "one")
        append_text(sound, 1, "two")
        assert [event.seq for event in await soon(sound.after(0))] == [1]
        assert not recorder.healthy()


async def test_the_next_writer_of_a_run_in_the_same_process_is_recorded(
    redis: Redis, redis_server: Valkey
) -> None:
    with Proxy(redis_server.port) as proxy:
        slow = redis_server.url.replace(f":{redis_server.port}", f":{proxy.port}")
        async with Redis.from_url(slow) as slow_redis, recording(slow_redis) as recorder:
            run_id = uuid4()
            older, newer = (log_at(recorder, slow_redis, run_id, attempt) for attempt in (1, 2))
            append_text(older, 1, "one")
            assert await soon(recorder.flush(older, 5))
            with proxy.stalled():
                append_text(older, 1, "two")
                await asyncio.sleep(0.05)
                older.supersede()
                newer.start_after(2)
                newer.append("run.resumed")
            assert [event.type for event in await soon(newer.after(2))] == ["run.resumed"]


@pytest.mark.parametrize("answer", [None, [], {}])
def test_nothing_read_is_no_entry(answer: object) -> None:
    assert parse_entries(answer) == []


def test_entries_are_found_in_either_protocol() -> None:
    entry = (b"1-0", {b"type": b"run.started", b"data": b"{}"})
    assert parse_entries([[b"log", [entry]]]) == parse_entries({b"log": [[entry]]}) == [entry]
