"""Wakes the streams of a process when their tenants have new events.

Redis says that there is something new, Postgres what: a lost message delays an event and loses none.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from uuid import UUID

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from servicekit.app import Resources
from servicekit.database import Database
from servicekit.redis_client import connect
from servicekit.workers import supervisor
from servicekit.workers.base import LoopWorker
from sqlalchemy import select

from billing_webhook.billing_events.publish import NEW_EVENTS
from billing_webhook.models import BillingEventCounter
from billing_webhook.settings import Settings

CHANNEL = "billing-webhook:events"
POLL_SECONDS = 2.0
# A Redis that does not answer must not delay the next poll by more.
REDIS_SECONDS = 1.0
ANNOUNCER_IDLE_SECONDS = 3600.0


class EventAnnouncer(LoopWorker):
    """Announces that this process has committed events to all replicas; a Worker."""

    def __init__(self, database: Database, redis: Redis) -> None:
        super().__init__("billing-event-announcer", wakeup=database.wakeup(NEW_EVENTS))
        self._redis = redis

    async def begin(self) -> None:
        """Do nothing: each step is complete."""

    async def step(self) -> float:
        """Announce, once for all that was committed since the last time."""
        async with asyncio.timeout(REDIS_SECONDS):
            await self._redis.publish(CHANNEL, b"")
        return ANNOUNCER_IDLE_SECONDS


class StandaloneAnnouncer(EventAnnouncer):
    """Announces in a process without streams, with a Redis client of its own; a Worker."""

    def __init__(self, resources: Resources) -> None:
        super().__init__(resources.database, events_redis(resources))

    async def run(self) -> None:
        """Work until cancelled, and close the connections: what is left open keeps a loop from closing."""
        async with self._redis:
            await super().run()


class EventHub(LoopWorker):
    """Wakes this process's streams, with one reader of Redis and one query for all of them; a Worker."""

    def __init__(self, database: Database, redis: Redis) -> None:
        super().__init__("billing-event-hub", (0.1, POLL_SECONDS))
        self.is_closing = False
        self._database = database
        self._redis = redis
        self._streams: dict[UUID, set[asyncio.Event]] = {}
        self._last_seqs: dict[UUID, int] = {}
        self._channel: PubSub | None = None

    @contextlib.contextmanager
    def subscription(self, tenant_id: UUID) -> Iterator[asyncio.Event]:
        """Yield an event that is set now, whenever the tenant may have new events, and at the end."""
        wakeup = asyncio.Event()
        wakeup.set()
        self._streams.setdefault(tenant_id, set()).add(wakeup)
        try:
            yield wakeup
        finally:
            self._streams[tenant_id].discard(wakeup)
            if not self._streams[tenant_id]:
                del self._streams[tenant_id]
                self._last_seqs.pop(tenant_id, None)

    def close(self) -> None:
        """Wake all streams to end."""
        self.is_closing = True
        for wakeups in self._streams.values():
            wake(wakeups)

    async def begin(self) -> None:
        """Subscribe anew after a failure."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.aclose()  # type: ignore[no-untyped-call]  # redis-py leaves it unannotated

    async def step(self) -> float:
        """Wake the streams of tenants with new events."""
        if self._streams:
            await self._wake_changed()
        return POLL_SECONDS

    async def idle(self, seconds: float) -> None:
        """Wait for an announcement, but no longer than so many seconds."""
        if self._channel is None:
            self._channel = self._redis.pubsub(ignore_subscribe_messages=True)
            async with asyncio.timeout(REDIS_SECONDS):
                await self._channel.subscribe(CHANNEL)
        else:
            await self._channel.get_message(timeout=seconds)

    async def _wake_changed(self) -> None:
        counter = BillingEventCounter
        query = select(counter.tenant_id, counter.last_seq).where(counter.tenant_id.in_(self._streams))
        async with self._database.begin() as db:
            rows = (await db.execute(query)).all()
        for tenant_id, last_seq in rows:
            if self._last_seqs.get(tenant_id) != last_seq and tenant_id in self._streams:
                self._last_seqs[tenant_id] = last_seq
                wake(self._streams[tenant_id])


def wake(wakeups: set[asyncio.Event]) -> None:
    """Wake some streams."""
    for wakeup in wakeups:
        wakeup.set()


@contextlib.asynccontextmanager
async def running_hub(resources: Resources) -> AsyncIterator[EventHub]:
    """Run the hub, and the announcer of what this process commits."""
    async with events_redis(resources) as redis:
        hub = EventHub(resources.database, redis)
        async with supervisor.running_all([hub, EventAnnouncer(resources.database, redis)]):
            closing = asyncio.create_task(close_on_stop(resources, hub))
            try:
                yield hub
            finally:
                closing.cancel()


def events_redis(resources: Resources) -> Redis:
    """Return a client of the Redis in which events are announced."""
    settings = Settings.of(resources)
    url = settings.billing_events_redis_url or settings.redis_url
    return connect(settings.model_copy(update={"redis_url": url}))


async def close_on_stop(resources: Resources, hub: EventHub) -> None:
    """End the streams as soon as the process is told to stop."""
    await resources.stopping.wait()
    hub.close()
