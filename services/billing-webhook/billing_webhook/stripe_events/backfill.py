"""Fetches events that Stripe has and the webhook never got."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

from servicekit.database import Database
from sqlalchemy import func, update
from stripe import StripeClient

from billing_webhook.models import StripeCursor
from billing_webhook.settings import Settings
from billing_webhook.stripe_events import metrics
from billing_webhook.stripe_events.envelope import Envelope, Json
from billing_webhook.stripe_events.handlers import thin_types
from billing_webhook.stripe_events.meter_errors import BACKFILL
from billing_webhook.stripe_events.receive import store

# Events may appear in Stripe's list later than others that were created after them.
OVERLAP = timedelta(minutes=10)
# Where none was listed yet.
FIRST = timedelta(days=1)
PAGE = 100


async def backfill(
    database: Database, client: StripeClient, settings: Settings, since: datetime | None = None
) -> int:
    """Store the events that are missing since then, by default since the newest of the last time.

    Return how many were missing; raises StripeError.
    """
    since = since or await last_seen(database) - OVERLAP
    newest, missing = since, 0
    for listed in (snapshot_pages(client, since), thin_pages(client, since)):
        async for page in listed:
            payloads = [json.dumps(event, default=str).encode() for event in page]
            events = [(Envelope.model_validate_json(payload), payload) for payload in payloads]
            newest = max(newest, *(event.created for event, _ in events))
            async with database.begin() as db:
                for event, payload in events:
                    missing += await store(db, event, payload, settings, {"backfill": True})
    await remember(database, newest)
    metrics.BACKFILLED.inc(missing)
    return missing


async def last_seen(database: Database) -> datetime:
    """Return when the newest event was created that was listed last time.

    Not the newest that is stored: one before it may be missing.
    """
    async with database.begin() as db:
        cursor = await db.get(StripeCursor, BACKFILL)
    return cursor.position if cursor and cursor.position else datetime.now(UTC) - FIRST


async def remember(database: Database, newest: datetime) -> None:
    """Store up to which time all events are known."""
    further = func.greatest(StripeCursor.position, newest)
    async with database.begin() as db:
        await db.execute(update(StripeCursor).where(StripeCursor.name == BACKFILL).values(position=further))


async def snapshot_pages(client: StripeClient, since: datetime) -> AsyncIterator[list[Json]]:
    """Yield Stripe's snapshot events of that time or later, a page at a time."""
    page = await client.v1.events.list_async({"created": {"gte": int(since.timestamp())}, "limit": PAGE})
    while page.data:
        yield [event.to_dict() for event in page.data]
        if not page.has_more:
            return
        page = await page.next_page_async()


async def thin_pages(client: StripeClient, since: datetime) -> AsyncIterator[list[Json]]:
    """Yield the thin events of that time or later, a page at a time, without their data.

    Not the twins of snapshots, which were listed as snapshots.
    """
    created = {"gte": since.strftime("%Y-%m-%dT%H:%M:%SZ")}
    params: Any = {"created": created, "types": thin_types(), "limit": PAGE}
    listed = await client.v2.core.events.list_async(params)
    events = [event.to_dict() async for event in listed.auto_paging_iter()]
    for start in range(0, len(events), PAGE):
        yield [{name: event[name] for name in event if name != "data"} for event in events[start:][:PAGE]]
