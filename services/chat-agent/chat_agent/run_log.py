"""The log of a run: everything that happened, numbered without holes, and the one source of every stream.

While a run is alive in this process its log is here, and readers get each event at once. A recorder copies
it to Redis in small batches, where it can be read from any replica, during the run and for a while after.
The entry ids in Redis are the event numbers, so Redis itself refuses a repeated or late event.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Protocol
from uuid import UUID

import orjson
from pydantic import JsonValue
from redis.asyncio import Redis
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

TERMINAL = frozenset({"run.completed", "run.failed", "run.cancelled", "run.waiting"})
KEEP_ALIVE = b": keep-alive\n\n"
KEEP_ALIVE_SECONDS = 15.0
# Events wait this long for company on their way to Redis; readers in this process do not wait.
GATHER_SECONDS = 0.01
BATCH = 500
BLOCK_MS = 5000
RETRY_SECONDS = 0.5
GIVE_UP_SECONDS = 30.0


@dataclass(frozen=True)
class RunEvent:
    """One event: its number in the run, its type, and its JSON as it goes over the wire."""

    seq: int
    type: str
    data: bytes

    @property
    def is_terminal(self) -> bool:
        """Tell whether nothing comes after this."""
        return self.type in TERMINAL

    @cached_property
    def frame(self) -> bytes:
        """Give the event as server-sent event (WHATWG HTML 9.2)."""
        return b"id: %d\nevent: %s\ndata: %s\n\n" % (self.seq, self.type.encode(), self.data)

    def json(self) -> dict[str, JsonValue]:
        """Give the event's JSON, parsed."""
        parsed: dict[str, JsonValue] = orjson.loads(self.data)
        return parsed


class Source(Protocol):
    """Where the events of one run can be read from."""

    async def after(self, seq: int) -> Sequence[RunEvent]:
        """Give the events after number `seq`, waiting a while for the first; none when nothing came."""

    async def last(self) -> "RunEvent | None":
        """Give the newest event, if there is one (yet, or still)."""


class RunLog:
    """The log of a run that is alive in this process."""

    def __init__(self, run_id: UUID, conversation_id: UUID) -> None:
        self.run_id = run_id
        self._conversation_id = conversation_id
        self._events: list[RunEvent] = []
        self._changed = asyncio.Event()

    def append(self, type: str, **fields: object) -> RunEvent:  # the word on the wire
        """Add an event; raises AssertionError after the terminal one, of which there is exactly one."""
        assert not self.is_closed, f"{type} after {self._events[-1].type}"  # noqa: S101
        event = make_event(len(self._events) + 1, type, self.run_id, self._conversation_id, fields)
        self._events.append(event)
        self._changed.set()
        self._changed = asyncio.Event()
        return event

    @property
    def is_closed(self) -> bool:
        """Tell whether the run is over."""
        return bool(self._events) and self._events[-1].is_terminal

    async def last(self) -> RunEvent | None:
        """See `Source`."""
        return self._events[-1] if self._events else None

    async def after(self, seq: int) -> Sequence[RunEvent]:
        """See `Source`."""
        if seq >= len(self._events) and not self.is_closed:
            changed = self._changed
            try:
                async with asyncio.timeout(KEEP_ALIVE_SECONDS):
                    await changed.wait()
            except TimeoutError:
                return []
        return self._events[seq:]


class RecordedLog:
    """The log of any run, read from Redis."""

    def __init__(self, redis: Redis, run_id: UUID) -> None:
        self._redis = redis
        self._key = key(run_id)

    async def last(self) -> RunEvent | None:
        """See `Source`."""
        newest: Any = await self._redis.xrevrange(self._key, count=1)
        return event_of(*newest[0]) if newest else None

    async def after(self, seq: int) -> Sequence[RunEvent]:
        """See `Source`."""
        answer = await self._redis.xread({self._key: f"{seq}-0"}, count=BATCH, block=BLOCK_MS)
        return [event_of(id_, fields) for id_, fields in entries_of(answer)]

    async def write(self, events: Sequence[RunEvent], keep_seconds: int) -> None:
        """Add events; what is there already is left as it is."""
        newest = await self.last()
        there = newest.seq if newest else 0
        pipeline = self._redis.pipeline(transaction=False)
        for event in events:
            if event.seq > there:
                pipeline.xadd(self._key, {"type": event.type, "data": event.data}, id=f"{event.seq}-0")
        pipeline.expire(self._key, keep_seconds)
        await pipeline.execute()


async def record(log: RunLog, redis: Redis, keep_seconds: int) -> None:
    """Copy a log to Redis as it grows, until its end.

    Redis down: readers in this process notice nothing; the copy is made up for when it is back, or given up
    half a minute after the end of the run (the result is kept in the run's row all the same).
    """
    recorded, done, failing_since = RecordedLog(redis, log.run_id), 0, 0.0
    clock = asyncio.get_running_loop().time
    while not (log.is_closed and done == len(log._events)):  # same module
        events = await log.after(done)
        await asyncio.sleep(GATHER_SECONDS)
        try:
            events = await log.after(done)
            await recorded.write(events, keep_seconds)
            done, failing_since = done + len(events), 0.0
        except (RedisError, OSError) as error:
            failing_since = failing_since or clock()
            if log.is_closed and clock() - failing_since > GIVE_UP_SECONDS:
                logger.warning(
                    "run log not recorded", extra={"run_id": str(log.run_id), "error": type(error).__name__}
                )
                return
            await asyncio.sleep(RETRY_SECONDS)


async def frames(source: Source, after: int) -> AsyncIterator[bytes]:
    """Give a run's events as a stream of bytes, from the one after number `after` to the terminal one."""
    while True:
        events = await source.after(after)
        if not events:
            yield KEEP_ALIVE
            continue
        yield b"".join([event.frame for event in events])
        after = events[-1].seq
        if events[-1].is_terminal:
            return


async def terminal(source: Source) -> RunEvent:
    """Wait for the end of a run."""
    after = 0
    while True:
        events = await source.after(after)
        if events and events[-1].is_terminal:
            return events[-1]
        after = events[-1].seq if events else after


def make_event(
    seq: int, type: str, run_id: UUID, conversation_id: UUID, fields: dict[str, object]
) -> RunEvent:
    """Make one event of a run."""
    data = {
        "type": type,
        "seq": seq,
        "run_id": str(run_id),
        "conversation_id": str(conversation_id),
        "at": datetime.now(UTC),
        **fields,
    }
    return RunEvent(seq, type, orjson.dumps(data, option=orjson.OPT_UTC_Z))


def key(run_id: UUID) -> str:
    """Name a run's stream; the braces keep all keys of one run on one node of a cluster."""
    return f"run:{{{run_id}}}:events"


def event_of(entry_id: bytes, fields: dict[bytes, bytes]) -> RunEvent:
    """Read an event from its entry; its number is in the id."""
    return RunEvent(int(entry_id.split(b"-")[0]), fields[b"type"].decode(), fields[b"data"])


def entries_of(answer: object) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Take the entries of the one stream out of what XREAD answers (a list or, in RESP3, a mapping)."""
    if not answer:
        return []
    if isinstance(answer, dict):
        (entries,) = answer.values()
        return list(entries[0])
    ((_, entries),) = answer  # type: ignore[misc]  # a list of one pair
    return list(entries)
