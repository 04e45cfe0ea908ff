"""What becomes of a tenant's conversations when auth tells of its end."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from conversation.erasure import HANDLERS, retention_rules
from conversation.worker import workers
from redis.asyncio import Redis
from servicekit.erasure import tenants
from servicekit.events.outbox import ReceivedEvent
from servicekit.retention import RetentionWorker
from sqlalchemy import select
from testkit.eventually import time_limit

TENANT = uuid4()
SOON, PAST = timedelta(days=1), timedelta(days=-1)


def tenant_event(
    what: str, version: int, tenant_id: UUID = TENANT, after: timedelta | None = None
) -> ReceivedEvent:
    data = {"tenant_id": str(tenant_id), "version": version}
    if after is not None:
        data["purge_after"] = (datetime.now(UTC) + after).isoformat()
    return ReceivedEvent(
        id=uuid4(),
        type=f"auth.tenant.{what}.v1",
        source="acme/auth",
        subject=f"tenant:{tenant_id}",
        time=datetime.now(UTC),
        data=data,
    )


@pytest.fixture
def database(app):
    return app.state.resources.database


async def count_conversations(who) -> int:
    return len((await who.get("/api/v1/conversations")).json()["items"])


@pytest.mark.parametrize(
    ("events", "left"),
    [
        ([("deleted", 2, PAST)], 0),
        ([("deleted", 2, SOON)], 1),
        ([("suspended", 2, None)], 1),
        ([("deleted", 2, PAST), ("reactivated", 3, None)], 1),
        # In whichever order they come, the newest counts.
        ([("reactivated", 3, None), ("deleted", 2, PAST)], 1),
        ([("suspended", 2, None), ("reactivated", 3, None), ("deleted", 4, PAST)], 0),
        ([("deleted", 4, PAST), ("suspended", 2, None), ("reactivated", 3, None)], 0),
    ],
)
async def test_items_of_a_deleted_tenant_are_erased_at_their_time(database, person, begin, events, left):
    ann, eve = person(TENANT), person(uuid4())
    await begin(ann, "Hello")
    await begin(eve, "Hello")
    # Noted all at once, before anybody tidies up.
    async with database.begin() as db:
        for what, version, after in events:
            event = tenant_event(what, version, after=after)
            await HANDLERS[event.type](db, event)
    await RetentionWorker(database, rules=retention_rules()).step()
    assert (await count_conversations(ann), await count_conversations(eve)) == (left, 1)


async def test_listens_to_auth(app, database, redis_url):
    consumer, housekeeping = workers(app.state.resources)
    assert (consumer.name, housekeeping.name) == ("consumer:conversation", "housekeeping")
    event = tenant_event("deleted", 2, after=SOON)
    attributes = {
        **event.model_dump(mode="json", include={"id", "type", "source", "subject", "time"}),
        "specversion": "1.0",
        "data": json.dumps(event.data),
    }
    async with Redis.from_url(redis_url) as redis:
        await redis.xadd("events:auth", attributes)
    listening = asyncio.create_task(consumer.run())
    async with time_limit():
        while await version_of(database, TENANT) is None:
            pass
    listening.cancel()
    assert await version_of(database, TENANT) == 2


async def version_of(database, tenant_id: UUID) -> int | None:
    async with database.begin() as db:
        version: int | None = await db.scalar(select(tenants.c.version).where(tenants.c.id == tenant_id))
    return version
