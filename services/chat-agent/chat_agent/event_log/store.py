"""The log of a run: everything that happened, numbered without holes, and the one source of every stream.

Redis holds it (`run:{id}:events`; the entry ids are the event numbers), so any replica can read it, during
the run and for a while after. The replica that executes the run is the only one that writes; it buffers what
it has written for the readers that are connected to it. Readers get only what Redis has: anything else could
not be replayed if this process died.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any, Protocol
from uuid import UUID

import orjson
from pydantic import JsonValue
from redis.asyncio import Redis
from redis.exceptions import NoScriptError

BATCH = 500
BLOCK_MS = 5000

SUPERSEDED = -1
# The number of an attempt that never comes: all are older.
CLOSED_ATTEMPT = 2**53 - 1
# KEYS: the log, and who writes it. ARGV: the writer's attempt, seconds to keep both, 1 if a hole before the
# events cannot be helped, the first event's number, then type and data of each. Gives the number of the last
# event that is there afterwards, or -1 to a writer that has a successor. Events that would leave a hole are
# not added: the writer sees by the number that something is lost, and sends it again. For how long both are
# kept is renewed once a minute: with each event it would be twice as much to write as the events themselves.
APPEND = """
local writer = tonumber(redis.call('GET', KEYS[2]) or '0')
local attempt, keep, torn, seq = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
if writer > attempt then return -1 end
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local last = newest[1] and tonumber(string.match(newest[1][1], '^%d+')) or 0
if seq <= last + 1 or torn == '1' then
    for i = 5, #ARGV, 2 do
        if seq > last then
            redis.call('XADD', KEYS[1], seq .. '-0', 'type', ARGV[i], 'data', ARGV[i + 1])
            last = seq
        end
        seq = seq + 1
    end
end
local ttl = redis.call('TTL', KEYS[1])
if writer < attempt or ttl < math.max(keep - 60, keep / 2) or ttl > keep then
    redis.call('SET', KEYS[2], attempt, 'EX', keep + 60)
    redis.call('EXPIRE', KEYS[1], keep)
end
return last
"""
APPEND_SHA = hashlib.sha1(APPEND.encode(), usedforsecurity=False).hexdigest()


class EventType(StrEnum):
    """What an event of a run is about."""

    RUN_STARTED = "run.started"
    RUN_RESUMED = "run.resumed"
    RUN_WAITING = "run.waiting"
    RUN_COMPLETED = "run.completed"
    RUN_FAILED = "run.failed"
    RUN_CANCELLED = "run.cancelled"
    ITEM_STARTED = "item.started"
    ITEM_COMPLETED = "item.completed"
    MESSAGE_DELTA = "message.delta"
    REASONING_DELTA = "reasoning.delta"
    TOOL_CALLED = "tool.called"
    TOOL_OUTPUT = "tool.output"
    AGENT_CHANGED = "agent.changed"
    MODEL_FALLBACK = "model.fallback"
    APPROVAL_REQUIRED = "approval.required"
    MEMORY_RECALLED = "memory.recalled"
    MEMORY_NOTED = "memory.noted"
    HISTORY_COMPACTED = "history.compacted"


TERMINAL = frozenset({EventType.RUN_COMPLETED, EventType.RUN_FAILED, EventType.RUN_CANCELLED})
DELTAS = frozenset({EventType.MESSAGE_DELTA, EventType.REASONING_DELTA})


@dataclass(frozen=True)
class RunEvent:
    """One event: its number in the run, its type, and its JSON as it goes over the wire."""

    seq: int
    type: str
    data: bytes

    @property
    def is_terminal(self) -> bool:
        """Return whether nothing comes after this, ever."""
        return self.type in TERMINAL

    @cached_property
    def frame(self) -> bytes:
        """Return the event as server-sent event (WHATWG HTML 9.2)."""
        return b"id: %d\nevent: %s\ndata: %s\n\n" % (self.seq, self.type.encode(), self.data)

    def json(self) -> dict[str, JsonValue]:
        """Return the event's JSON, parsed."""
        parsed: dict[str, JsonValue] = orjson.loads(self.data)
        return parsed


class EventSource(Protocol):
    """Where the events of one run can be read from."""

    async def after(self, seq: int) -> Sequence[RunEvent]:
        """Return the events after number `seq`; waits for the first, for a while."""

    async def last(self) -> "RunEvent | None":
        """Return the newest event, if there is one (yet, or still)."""


class EventStore:
    """The log of any run, in Redis."""

    def __init__(self, redis: Redis, run_id: UUID) -> None:
        # The braces keep all keys of one run on one node of a cluster.
        self.keys = (f"run:{{{run_id}}}:events", f"run:{{{run_id}}}:writer")
        self._redis = redis

    async def last(self) -> RunEvent | None:
        """See `EventSource`."""
        newest: Any = await self._redis.xrevrange(self.keys[0], count=1)
        return parse_entry(*newest[0]) if newest else None

    async def after(self, seq: int) -> Sequence[RunEvent]:
        """See `EventSource`."""
        answer = await self._redis.xread({self.keys[0]: f"{seq}-0"}, count=BATCH, block=BLOCK_MS)
        return [parse_entry(id_, fields) for id_, fields in parse_entries(answer)]

    async def between(self, after: int, until: int) -> list[RunEvent]:
        """Return the events after number `after`, up to number `until`, as far as they are there."""
        entries: Any = await self._redis.xrange(self.keys[0], f"({after}-0", f"{until}-0", count=BATCH)
        return [parse_entry(id_, fields) for id_, fields in entries]

    async def all(self) -> list[RunEvent]:
        """Return every event that is there."""
        newest = await self.last()
        events: list[RunEvent] = []
        while newest and (not events or events[-1].seq < newest.seq):
            more = await self.between(events[-1].seq if events else 0, newest.seq)
            if not more:
                break
            events += more
        return events

    async def append(self, attempt: int, ttl_seconds: int, events: Sequence[RunEvent] = ()) -> int:
        """Append events as the writer of an attempt, and shut earlier ones out; returns what APPEND does."""
        arguments = script_args(attempt, ttl_seconds, events, has_gap=False)
        try:
            return int(await self._redis.evalsha(APPEND_SHA, 2, *self.keys, *arguments))
        except NoScriptError:
            return int(await self._redis.eval(APPEND, 2, *self.keys, *arguments))

    async def delete(self, keep: int) -> None:
        """Delete the log, and shut its writers out; `keep` is for how many seconds logs are stored."""
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.set(self.keys[1], CLOSED_ATTEMPT, ex=keep + 60)
            pipeline.delete(self.keys[0])
            await pipeline.execute()


def make_event(  # noqa: PLR0913, PLR0917  # the parts of an event
    seq: int, type: str, run_id: UUID, conversation_id: UUID, fields: dict[str, Any], at: datetime
) -> RunEvent:
    """Build one event of a run."""
    data = {
        "type": type,
        "seq": seq,
        "run_id": str(run_id),
        "conversation_id": str(conversation_id),
        "at": at,
        **fields,
    }
    return RunEvent(seq, type, orjson.dumps(data, option=orjson.OPT_UTC_Z))


def script_args(attempt: int, ttl_seconds: int, events: Sequence[RunEvent], *, has_gap: bool) -> list[Any]:
    """Return the arguments of APPEND."""
    first = events[0].seq if events else 0
    return [
        attempt,
        ttl_seconds,
        int(has_gap),
        first,
        *(part for event in events for part in (event.type, event.data)),
    ]


def parse_entry(entry_id: bytes, fields: dict[bytes, bytes]) -> RunEvent:
    """Read an event from its entry; its number is in the id."""
    return RunEvent(int(entry_id.split(b"-")[0]), fields[b"type"].decode(), fields[b"data"])


def parse_entries(answer: object) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Return the entries of the one stream in a reply of XREAD (a list or, in RESP3, a mapping)."""
    if not answer:
        return []
    if isinstance(answer, dict):
        (entries,) = answer.values()
        return list(entries[0])
    ((_, entries),) = answer  # type: ignore[misc]  # a list of one pair
    return list(entries)
