"""Fetches events that Stripe has and the webhook never got."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import stripe
from servicekit.database import Database
from sqlalchemy import func, update
from stripe import StripeClient

from billing_webhook.models import StripeCursor
from billing_webhook.settings import Settings
from billing_webhook.stripe_events import metrics
from billing_webhook.stripe_events.envelope import Envelope
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
    async for page in pages(client, since):
        newest = max(newest, datetime.fromtimestamp(page[0].created, UTC))
        async with database.begin() as db:
            for event in page:
                payload = json.dumps(event.to_dict(), default=str).encode()
                envelope = Envelope.model_validate_json(payload)
                missing += await store(db, envelope, payload, settings, {"backfill": True})
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


async def pages(client: StripeClient, since: datetime) -> AsyncIterator[list[stripe.Event]]:
    """Yield Stripe's events of that time or later, a page at a time."""
    page = await client.v1.events.list_async({"created": {"gte": int(since.timestamp())}, "limit": PAGE})
    while page.data:
        yield page.data
        if not page.has_more:
            return
        page = await page.next_page_async()
