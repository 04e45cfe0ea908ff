"""Redis consumer groups: reading one group of a stream, and trimming what all groups have handled."""

import logging
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

logger = logging.getLogger(__name__)

PENDING_PAGE = 1000

# A script, because between a look and the removal the consumer could be given an entry, which would be lost.
FORGET = """
local forgotten = 0
for _, pairs in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
    local consumer = {}
    for i = 1, #pairs, 2 do consumer[pairs[i]] = pairs[i + 1] end
    if consumer.pending == 0 and consumer.idle > tonumber(ARGV[2]) then
        redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer.name)
        forgotten = forgotten + 1
    end
end
return forgotten
"""


def stream_of(source: str) -> str:
    """Return the key of the stream that a service publishes to."""
    return f"events:{source}"


@dataclass(frozen=True)
class Entry:
    """A delivered stream entry, with the number of its deliveries, this one included."""

    id: bytes
    fields: dict[bytes, bytes]
    deliveries: int


@dataclass(frozen=True)
class Pending:
    """An entry that was delivered and not acknowledged: how often, and how many seconds ago."""

    id: bytes
    deliveries: int
    idle: float


class ConsumerGroup:
    """One consumer's view of a group; raises redis-py's errors, ResponseError when the group is gone.

    redis-py types an answer as all that any server may say to any client; here it is narrowed.
    """

    def __init__(self, redis: Redis, stream: str, name: str, consumer: str = "") -> None:
        self.redis = redis
        self.stream = stream
        self.name = name
        self.consumer = consumer

    async def ensure(self) -> None:
        """Make the group, reading the stream from its beginning, unless it is there; the stream too."""
        # Asked first, because a full Redis refuses to make even what is there, and must still be emptied.
        if self.name.encode() in {group["name"] for group in await _groups(self.redis, self.stream)}:
            return
        try:
            await self.redis.xgroup_create(self.stream, self.name, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        else:
            logger.info("consumer group made", extra={"stream": self.stream, "group": self.name})

    async def read(self, seconds: float) -> Entry | None:
        """Return the next new entry, waiting for it for so many seconds, or not at all.

        One at a time: what is read ahead would wait in a process while its time to be retried elsewhere runs.
        """
        block = int(seconds * 1000) or None
        streams: dict[Any, Any] = {self.stream: ">"}
        answer: Any = await self.redis.xreadgroup(self.name, self.consumer, streams, count=1, block=block)
        for _, entries in answer:
            for entry_id, fields in entries:
                return Entry(entry_id, fields, 1)
        return None

    async def pending(self) -> AsyncIterator[Pending]:
        """List what was delivered and is not acknowledged, oldest first."""
        start = "-"
        while True:
            page = await self._pending(start, "+", PENDING_PAGE)
            for one in page:
                yield one
            if len(page) < PENDING_PAGE:
                return
            start = f"({page[-1].id.decode()}"

    async def claim(self, entry_id: bytes, rested: float) -> tuple[Entry | None, list[bytes]]:
        """Claim the first pending entry from this one on that was idle for so many seconds, if any.

        Gives also the ids that were pending and are gone from the stream; only XAUTOCLAIM tells of those, and
        only once.
        """
        answer: Any = await self.redis.xautoclaim(
            self.stream, self.name, self.consumer, int(rested * 1000), start_id=entry_id, count=1
        )
        _, entries, gone = answer
        for claimed, fields in entries:
            for pending in await self._pending(claimed, claimed, 1):
                return Entry(claimed, fields, pending.deliveries), gone
        return None, gone

    async def undo_delivery(self, entry: Entry) -> None:
        """Undo the count of the current delivery; the entry is idle from now on."""
        await self.redis.xclaim(
            self.stream,
            self.name,
            self.consumer,
            0,
            [entry.id],
            retrycount=entry.deliveries - 1,
            justid=True,
        )

    async def acknowledge(self, *entry_ids: bytes) -> None:
        """Acknowledge entries."""
        await self.redis.xack(self.stream, self.name, *entry_ids)

    async def forget_consumers(self, silent: float) -> int:
        """Remove consumers that have nothing pending and were silent for that long; returns how many."""
        forgotten: Any = await self.redis.eval(FORGET, 1, self.stream, self.name, int(silent * 1000))
        return int(forgotten)

    async def _pending(self, first: bytes | str, last: bytes | str, count: int) -> list[Pending]:
        answer: Any = await self.redis.xpending_range(self.stream, self.name, first, last, count)
        return [
            Pending(one["message_id"], one["times_delivered"], one["time_since_delivered"] / 1000)
            for one in answer
        ]


async def trim(redis: Redis, stream: str, readers: Collection[str] = ()) -> int:
    """Remove the entries that every group has handled; returns how many.

    By the slowest group, never by length: MAXLEN deletes what a group has not read, and hides it. So a group
    whose reader is gone for good keeps the stream from shrinking until an operator destroys it.
    """
    groups = await _groups(redis, stream)
    # A known reader's group may be destroyed at any moment; without it, nobody knows what it needs.
    if not {name.encode() for name in readers} <= {group["name"] for group in groups}:
        return 0
    floors = [await _floor(redis, stream, group) for group in groups]
    if not floors:
        return 0
    return int(await redis.xtrim(stream, minid=min(floors, key=_position), approximate=False))


async def _groups(redis: Redis, stream: str) -> list[dict[str, bytes]]:
    if not await redis.exists(stream):
        return []
    groups: Any = await redis.xinfo_groups(stream)
    return list(groups)


async def _floor(redis: Redis, stream: str, group: dict[str, bytes]) -> bytes:
    """Return the first entry that a group still needs.

    Its position was read before its pending entries, and both only move on: the answer may be too low, never
    too high.
    """
    pending: Any = await redis.xpending(stream, group["name"])
    oldest: bytes = pending["min"] or group["last-delivered-id"]
    return oldest


def _position(entry_id: bytes) -> tuple[int, int]:
    milliseconds, number = entry_id.split(b"-")
    return int(milliseconds), int(number)
