"""The bus between services: a Relay empties the outbox into a Redis stream, a Consumer reads others' streams.

At least once and in no promised order: relays of several replicas take turns, and a crash between sending and
committing sends again. Readers skip what they have handled, so an effect happens once.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from prometheus_client import Counter, Gauge
from redis.asyncio import Redis
from sqlalchemy import Row, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from servicekit.database import Database
from servicekit.events.consumer import Consumer, RetryPolicy
from servicekit.events.consumer_group import ConsumerGroup, stream_of, trim
from servicekit.events.dispatcher import Handler
from servicekit.events.outbox import encode, outbox
from servicekit.workers.base import BACKOFF_SECONDS, LoopWorker, Throttle, shielded

__all__ = ["Consumer", "Handler", "OutboxRelay", "RetryPolicy", "republish"]

PUBLISHED = Counter("events_published_total", "Events sent to the stream, repeats included.", ["source"])
OLDEST = Gauge("outbox_oldest_seconds", "Age of the oldest event that waits to be sent.", ["source"])

# Redis answers before its disk or its replica has the entry; a crash can take the last second or two back.
REPUBLISH_WINDOW = timedelta(seconds=10)
REPUBLISH_ROWS = 5000


class StreamLost(Exception):
    """Redis has lost the stream: it was flushed, or came back without its data."""


class OutboxRelay(LoopWorker):
    """Moves committed events from a service's outbox to `events:<source>`; a Worker.

    `readers` are the services known to read them. `poll` is the pause between two looks at an outbox that was
    empty, `trim_every` the time between two trimmings, in seconds.
    """

    def __init__(  # noqa: PLR0913  # each by its name
        self,
        database: Database,
        redis: Redis,
        *,
        source: str,
        readers: Sequence[str],
        batch: int = 100,
        # Polling, not LISTEN/NOTIFY: asking an empty partial index costs less than NOTIFY's lock at every
        # commit, and works through a connection pooler. A commit of this process wakes the relay; what others
        # have published and not sent is sent after two seconds at most.
        poll: float = 2.0,
        trim_every: float = 30.0,
        pauses: tuple[float, float] = BACKOFF_SECONDS,
    ) -> None:
        super().__init__(f"relay:{source}", pauses, database.wakeup(outbox.name))
        self._database = database
        self._redis = redis
        self._source = source
        self._stream = stream_of(source)
        # Whatever loses the stream loses this key too, and no reader makes it anew before we look. The braces
        # put both into one slot of a cluster.
        self._mark = f"{{{self._stream}}}:kept"
        self._groups = [ConsumerGroup(redis, self._stream, reader) for reader in readers]
        self._batch = batch
        self._poll = poll
        self._trimming = Throttle(trim_every)
        self._has_sent = True
        self._waiting_since: datetime | None = None
        OLDEST.labels(source).set_function(self._oldest_age)

    async def begin(self) -> None:
        """Create every reader's group at its stream's start, and send again what Redis may have forgotten.

        All that the outbox still has if the stream was lost; else the last seconds.
        """
        # Before Redis is asked: while it is away, events are getting older.
        self._waiting_since = await self._oldest()
        lost = not await self._redis.exists(self._mark)
        if lost:
            await republish(self._database)
        elif self._has_sent:
            await self._republish_last_seconds()
        # Not again before something new was sent, or each failure in a row would go back further.
        self._has_sent = False
        for group in self._groups:
            await group.ensure()
        if lost:
            # Last, so that a crash before this does all of it again.
            await self._redis.set(self._mark, 1)

    async def step(self) -> float:
        """Trim the stream when it is due, then send one batch."""
        if self._trimming.due():
            await self._trim()
        # A batch that is sent and not committed would be sent again by the next relay.
        sent = await shielded(self._send_batch())
        self._has_sent = self._has_sent or sent > 0
        return 0 if sent == self._batch else self._poll

    async def _send_batch(self) -> int:
        async with self._database.begin() as session:
            rows = await self._claim(session)
            self._waiting_since = rows[0].time if rows else None
            if rows:
                await self._send(rows)
                sent = outbox.c.id.in_([row.id for row in rows])
                await session.execute(update(outbox).where(sent).values(published_at=func.now()))
        self._waiting_since = None
        PUBLISHED.labels(self._source).inc(len(rows))
        return len(rows)

    async def _claim(self, session: AsyncSession) -> Sequence[Row[Any]]:
        """Lock and return the next unpublished rows that no other relay has locked."""
        waiting = select(outbox).where(outbox.c.published_at.is_(None)).order_by(outbox.c.seq)
        claimed = await session.execute(waiting.limit(self._batch).with_for_update(skip_locked=True))
        return claimed.all()

    async def _send(self, rows: Sequence[Row[Any]]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for row in rows:
            pipeline.xadd(self._stream, encode(self._source, row))  # type: ignore[arg-type]  # a dict is invariant
        pipeline.exists(self._mark)
        *_, is_marked = await pipeline.execute()
        if not is_marked:
            raise StreamLost(self._stream)

    async def _trim(self) -> None:
        # A lost stream is noticed without new events, too; and no trimming while a reader's group is missing.
        if not await self._redis.exists(self._mark):
            raise StreamLost(self._stream)
        for group in self._groups:
            await group.ensure()
        await trim(self._redis, self._stream, [group.name for group in self._groups])

    async def _republish_last_seconds(self) -> None:
        async with self._database.begin() as session:
            newest = await session.scalar(select(func.max(outbox.c.published_at)))
        if newest is not None:
            await republish(self._database, newest - REPUBLISH_WINDOW)

    async def _oldest(self) -> datetime | None:
        waiting = select(outbox.c.time).where(outbox.c.published_at.is_(None)).order_by(outbox.c.seq).limit(1)
        async with self._database.begin() as session:
            return await session.scalar(waiting)

    def _oldest_age(self) -> float:
        return (datetime.now(UTC) - self._waiting_since).total_seconds() if self._waiting_since else 0.0


async def republish(database: Database, since: datetime | None = None) -> int:
    """Send again what was sent at or after `since`, or all of the outbox; returns how many events.

    Harmless: readers skip what they have handled, by the event's id.
    """
    total = 0
    async with database.begin() as session:
        until = await session.scalar(select(func.clock_timestamp()))
    while True:
        async with database.begin() as session:
            again = await _unmark(session, since, until)
        total += again
        if again < REPUBLISH_ROWS:
            return total


async def _unmark(session: AsyncSession, since: datetime | None, until: datetime | None) -> int:
    """Mark a batch of published rows as unpublished; all at once could exceed the statement timeout."""
    chosen = select(outbox.c.id).where(outbox.c.published_at <= until)
    if since is not None:
        chosen = chosen.where(outbox.c.published_at >= since)
    some = chosen.limit(REPUBLISH_ROWS).with_for_update(skip_locked=True)
    done = await session.execute(
        update(outbox).where(outbox.c.id.in_(some)).values(published_at=None).returning(outbox.c.id)
    )
    return len(done.all())
