"""A bus under test: one service that publishes and one that reads, in one database, on real servers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError
from servicekit.auth.call_limits import CallLimits, CallRates
from servicekit.database import Database
from servicekit.events.dispatcher import Handler
from servicekit.events.outbox import Event, ReceivedEvent, inbox, outbox, publish
from servicekit.events.relay import Consumer, OutboxRelay, RetryPolicy
from servicekit.idempotency import idempotency_keys
from servicekit.rate_limits import Limits
from sqlalchemy import Column, Integer, MetaData, Table, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from testkit.databases import Databases
from testkit.eventually import time_limit

TENANT = UUID("11111111-1111-4111-8111-111111111111")

tables = MetaData()
for table in (outbox, inbox, idempotency_keys):
    table.to_metadata(tables)
effects = Table("effects", tables, Column("number", Integer, nullable=False))


class Counted(Event):
    """The event of these tests."""

    type: ClassVar[str] = "auth.thing.counted.v1"

    number: int


@dataclass
class Bus:
    """The service `auth` that publishes, and the service `notification` that reads, with short waits."""

    database: Database
    redis: Redis
    stream: str = "events:auth"
    group: str = "notification"

    async def note(self, session: AsyncSession, received: ReceivedEvent) -> None:
        """Handle an event by leaving a row."""
        await session.execute(effects.insert().values(number=received.data["number"]))

    async def publish(self, *numbers: int) -> None:
        """Publish events in one transaction."""
        async with self.database.begin() as session:
            for number in numbers:
                publish(session, Counted(number=number), tenant_id=TENANT, subject=f"thing:{number}")

    def relay(self, **options: Any) -> OutboxRelay:
        """Make a relay that hurries."""
        hurry = {"readers": (self.group,), "poll": 0.02, "trim_every": 0.02, "pauses": (0.01, 0.05)}
        return OutboxRelay(self.database, self.redis, source="auth", **{**hurry, **options})

    def consumer(
        self, handler: Handler | None = None, *, service: str | None = None, **patience: Any
    ) -> Consumer:
        """Make a consumer that hurries."""
        hurry = {"first_retry": 0.02, "last_retry": 0.1, "block": 0.05, "pauses": (0.01, 0.05)}
        return Consumer(
            self.database,
            self.redis,
            service=service or self.group,
            sources=["auth"],
            handlers={Counted.type: handler or self.note},
            retry_policy=RetryPolicy(**{**hurry, **patience}),
        )

    async def effects(self) -> list[int]:
        """List what handlers have left."""
        async with self.database.begin() as session:
            return list(await session.scalars(select(effects.c.number)))

    async def unpublished(self) -> int:
        """Count what the relay has not sent."""
        waiting = select(func.count()).select_from(outbox).where(outbox.c.published_at.is_(None))
        async with self.database.begin() as session:
            return await session.scalar(waiting) or 0

    async def all_sent(self) -> bool:
        """Return whether the outbox is empty."""
        return not await self.unpublished()

    async def sent(self) -> list[Any]:
        """List what is in the stream, in its order."""
        entries = await self.redis.xrange(self.stream)
        return [ReceivedEvent.decode(fields).data["number"] for _, fields in entries]

    async def add(self, number: int, event_id: UUID | None = None, **attributes: str) -> bytes:
        """Put an event into the stream as another publisher would."""
        fields = {
            "specversion": "1.0",
            "id": str(event_id or uuid4()),
            "source": "acme/auth",
            "type": Counted.type,
            "subject": f"thing:{number}",
            "time": "2026-01-02T03:04:05Z",
            "data": f'{{"number": {number}}}',
        }
        entry_id: bytes = await self.redis.xadd(self.stream, {**fields, **attributes})
        return entry_id

    async def pending(self) -> list[tuple[bytes, int]]:
        """List what the reader has been given and has not acknowledged, and how often it was given."""
        found = await self.redis.xpending_range(self.stream, self.group, "-", "+", 1000)
        return [(one["message_id"], one["times_delivered"]) for one in found]

    async def delivered_all(self) -> bool:
        """Return whether the reader has acknowledged the whole stream."""
        if not await self.redis.exists(self.stream):
            return False
        newest = (await self.redis.xinfo_stream(self.stream))["last-generated-id"]
        groups = {one["name"].decode(): one for one in await self.redis.xinfo_groups(self.stream)}
        group = groups.get(self.group)
        return bool(group and group["last-delivered-id"] == newest and not group["pending"])

    async def settled(self, *numbers: int) -> bool:
        """Return whether handlers have left just these, in any order, and nothing remains to be done."""
        return await self.delivered_all() and sorted(await self.effects()) == sorted(numbers)


@contextlib.asynccontextmanager
async def open_bus(database_url: str, redis_url: str) -> AsyncIterator[Bus]:
    """Open a bus on any two servers; the Redis client tries once, so that outages are noticed."""
    database = Database(database_url, name="bus")
    async with database.engine.begin() as connection:
        await connection.run_sync(tables.create_all)
    async with Redis.from_url(redis_url, socket_connect_timeout=60, socket_timeout=60, retry=None) as redis:
        yield Bus(database, redis)
    await database.close()


@pytest.fixture
def bus_on() -> Callable[[str, str], AbstractAsyncContextManager[Bus]]:
    """Return the function that opens a bus on servers of the test's own."""
    return open_bus


@pytest.fixture(scope="session")
def bus_url(databases: Databases) -> str:
    """Return the address of the bus's database."""
    return databases.fresh("bus")


@pytest.fixture
async def bus(bus_url: str, redis_url: str) -> AsyncIterator[Bus]:
    """Return a bus on this worker's servers."""
    async with open_bus(bus_url, redis_url) as bus:
        yield bus


async def holds(condition: Callable[[], Awaitable[object]]) -> bool:
    """Return whether a condition is fulfilled; while servers are away, it is not."""
    try:
        return bool(await condition())
    except (ConnectionError, OSError, DBAPIError):
        return False


@pytest.fixture
async def rates(redis_url: str) -> AsyncIterator[CallRates]:
    """Return what counts calls, with the limits that a service has by default."""
    async with Redis.from_url(redis_url) as redis:
        yield CallRates("shop", Limits(redis), CallLimits())


@pytest.fixture
def until() -> Callable[[Callable[[], Awaitable[object]]], Awaitable[None]]:
    """Return a function that waits for what some worker will bring about."""

    async def wait(condition: Callable[[], Awaitable[object]]) -> None:
        async with time_limit():
            while not await holds(condition):  # noqa: ASYNC110  # what happens in Redis sets no event here
                await asyncio.sleep(0.005)

    return wait
