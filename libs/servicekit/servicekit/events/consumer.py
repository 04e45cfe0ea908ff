"""Consumes the streams of other services: each event is handled, or becomes a dead letter."""

import asyncio
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import Counter
from redis.asyncio import Redis

from servicekit.backoff import exponential
from servicekit.database import Database
from servicekit.events.consumer_group import ConsumerGroup, Entry, stream_of
from servicekit.events.dead_letters import dead_letter
from servicekit.events.dispatcher import Dispatcher, Handler
from servicekit.events.outbox import InvalidEvent, ReceivedEvent
from servicekit.workers.base import BACKOFF_SECONDS, GRACE_SECONDS, LoopWorker, Throttle, shielded

logger = logging.getLogger(__name__)

HANDLED = Counter(
    "events_handled_total",
    "Events taken from streams: handled, duplicate, ignored, failed (to be retried), dead, lost.",
    ["service", "type", "result"],
)
DEAD_LETTERS = Counter("events_dead_total", "Events put with the dead letters.", ["service"])


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How long a consumer tries and waits, in seconds.

    The wait before a retry is four times the one before: like this, the last of eight deliveries comes after
    about 40 minutes. `block` is how long the wait for a new entry is while none is to be retried: what a
    consumer that was killed had in hand is found so much later. `gone` is when a silent consumer is taken for
    dead.
    """

    max_deliveries: int = 8
    first_retry: float = 2.0
    last_retry: float = 900.0
    handling: float = 30.0
    grace: float = GRACE_SECONDS
    # Below the client's `socket_timeout`.
    block: float = 5.0
    gone: float = 3600.0
    pauses: tuple[float, float] = BACKOFF_SECONDS

    def before_retry(self, deliveries: int) -> float:
        """Return the seconds before the next delivery of an entry, after so many deliveries."""
        return exponential(deliveries, self.first_retry, self.last_retry, 4.0)


class Consumer:
    """Reads `events:<source>` of each source as the group `<service>` and calls the type's handler; a Worker.

    An event whose handler raises is retried with growing pauses, then put into `dead:<service>`. An outage of
    Postgres or Redis counts against no event. Handlers of one stream run one after another; streams do not
    wait for each other.
    """

    def __init__(  # noqa: PLR0913  # each by its name
        self,
        database: Database,
        redis: Redis,
        *,
        service: str,
        sources: Sequence[str],
        handlers: Mapping[str, Handler],
        retry_policy: RetryPolicy | None = None,
    ) -> None:
        self.name = f"consumer:{service}"
        retry_policy = retry_policy or RetryPolicy()
        dispatcher = Dispatcher(database, service, handlers, retry_policy.handling)
        consumer = f"{service}@{socket.gethostname()}:{os.getpid()}"
        groups = [ConsumerGroup(redis, stream_of(source), service, consumer) for source in sources]
        self._readers = [StreamReader(group, dispatcher, retry_policy) for group in groups]

    async def run(self) -> None:
        """Read until cancelled; what is being handled then may still end, or is rolled back."""
        async with asyncio.TaskGroup() as tasks:
            for reader in self._readers:
                tasks.create_task(reader.run(), name=reader.name)

    def healthy(self) -> bool:
        """Return whether all streams are being read."""
        return all(reader.healthy() for reader in self._readers)


class StreamReader(LoopWorker):
    """Reads one stream: new entries, and failed or abandoned ones of any consumer of the group."""

    def __init__(self, group: ConsumerGroup, dispatcher: Dispatcher, retry_policy: RetryPolicy) -> None:
        super().__init__(f"{group.name} reading {group.stream}", retry_policy.pauses)
        self._group = group
        self._dispatcher = dispatcher
        self._retry_policy = retry_policy
        self._retrying = Throttle(retry_policy.first_retry)
        self._tidying = Throttle(retry_policy.gone)

    async def begin(self) -> None:
        """Verify the database, without which entries would use up deliveries, and create the group."""
        await self._dispatcher.ping()
        await self._group.ensure()

    async def step(self) -> float:
        """Handle one entry that is due for a retry, if any, and one new entry."""
        if self._tidying.due():
            await self._group.forget_consumers(self._retry_policy.gone)
        block = await self._retry() if self._retrying.due() else self._retry_policy.first_retry
        if entry := await self._group.read(min(block, self._retry_policy.block)):
            await self._process(entry)
        return 0

    async def _retry(self) -> float:
        """Try the first entry again that has rested for long enough; return how long to wait for new ones."""
        block = self._retry_policy.block
        async for pending in self._group.pending():
            rest = self._retry_policy.before_retry(pending.deliveries)
            if pending.idle >= rest and await self._retry_from(pending.id, rest):
                self._retrying.hurry()
                return 0
            block = self._retry_policy.first_retry
        return block

    async def _retry_from(self, entry_id: bytes, rest: float) -> bool:
        entry, gone = await self._group.claim(entry_id, rest)
        if gone:
            await self._lost(gone)
        if entry:
            await self._process(entry)
        return entry is not None

    async def _lost(self, gone: Sequence[bytes]) -> None:
        """Log entries that were deleted before they were handled."""
        ids = [entry_id.decode() for entry_id in gone]
        logger.error(
            "events lost before they were handled", extra={"stream": self._group.stream, "entries": ids}
        )
        self._count("other", "lost", len(gone))
        await self._group.acknowledge(*gone)

    async def _process(self, entry: Entry) -> None:
        await shielded(self._deliver(entry), self._retry_policy.grace)

    async def _deliver(self, entry: Entry) -> None:
        try:
            received = ReceivedEvent.decode(entry.fields)
        except InvalidEvent as error:
            await self._dead_letter(entry, "other", str(error))
            return
        if entry.deliveries > self._retry_policy.max_deliveries:
            # Each time before, the process ended over it. It shall not take this one along.
            await self._dead_letter(entry, received.type, "no delivery came to an end")
            return
        await self._attempt(entry, received)

    async def _attempt(self, entry: Entry, received: ReceivedEvent) -> None:
        try:
            result = await self._dispatcher.handle(received)
        except Exception as error:
            await self._unless_outage(entry)
            await self._failed(entry, received, error)
            return
        await self._group.acknowledge(entry.id)
        self._count(received.type, result)

    async def _unless_outage(self, entry: Entry) -> None:
        """Raise if the database is down; the delivery is then not counted against the event."""
        try:
            await self._dispatcher.ping()
        except Exception:
            await self._group.undo_delivery(entry)
            raise

    async def _failed(self, entry: Entry, received: ReceivedEvent, error: Exception) -> None:
        if entry.deliveries >= self._retry_policy.max_deliveries:
            await self._dead_letter(entry, received.type, f"{type(error).__name__}: {error}")
            return
        about = {"event_id": str(received.id), "type": received.type, "deliveries": entry.deliveries}
        logger.warning("event failed, and will be retried", extra=about, exc_info=error)
        self._count(received.type, "failed")

    async def _dead_letter(self, entry: Entry, type_: str, reason: str) -> None:
        """Move an entry to the dead letters; a crash in between leaves it there twice."""
        await dead_letter(self._group, entry, reason)
        await self._group.acknowledge(entry.id)
        about = {"stream": self._group.stream, "entry": entry.id.decode(), "type": type_}
        logger.error("event put with the dead letters", extra=about)
        DEAD_LETTERS.labels(self._dispatcher.service).inc()
        self._count(type_, "dead")

    def _count(self, type_: str, result: str, times: int = 1) -> None:
        HANDLED.labels(self._dispatcher.service, self._dispatcher.describe(type_), result).inc(times)
