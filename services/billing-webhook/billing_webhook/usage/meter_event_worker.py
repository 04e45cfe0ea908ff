"""Sends meter events to Stripe."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import stripe
from servicekit.backoff import exponential, jittered
from servicekit.database import Database
from servicekit.workers.base import LoopWorker, shielded
from sqlalchemy import select
from stripe import StripeClient

from billing_webhook.entitlements.counters import TENANT_SCOPE
from billing_webhook.models import Customer, MeterEvent, UsageTotal
from billing_webhook.quantities import to_text
from billing_webhook.usage import meter_events
from billing_webhook.usage.meters import meter_total

# Seconds between two looks for new usage: a sixtieth of the time for which it is collected, within bounds.
POLL_SECONDS = (5.0, 60.0)
PARALLEL = 8
RETRY_SECONDS = (2.0, 900.0)
DUPLICATE, CANCELED, MISSING = "duplicate_meter_event", "meter_event_already_canceled", "resource_missing"


class MeterEventWorker(LoopWorker):
    """Sends in batches; several replicas may run. What Stripe does not answer is sent again, for ever."""

    def __init__(self, database: Database, client: StripeClient, window: timedelta) -> None:
        super().__init__("meter-events")
        self._database = database
        self._client = client
        self._window = window

    async def begin(self) -> None:
        """Verify that the database is reachable."""
        await self._database.ping()

    async def step(self) -> float:
        """Send one batch, and the next one at once while there are more."""
        if await shielded(send_due(self._database, self._client, self._window)):
            return 0
        async with self._database.begin() as db:
            due = await meter_events.seconds_until_due(db, self._window)
        shortest, longest = POLL_SECONDS
        return min(max(due, 0.1), max(shortest, min(self._window.total_seconds() / 60, longest)))


async def send_due(database: Database, client: StripeClient, window: timedelta) -> int:
    """Create and send what is due, and return how many events it was. No transaction is open meanwhile."""
    async with database.begin() as db:
        await meter_events.create_due(db, window)
    async with database.begin() as db:
        batch = await meter_events.lease(db)
        if not batch:
            return 0
        owners = {event.tenant_id for event in batch}
        known = select(Customer.tenant_id, Customer.stripe_customer_id).where(
            Customer.tenant_id.in_(owners), Customer.deleted_at.is_(None)
        )
        customers = {row.tenant_id: row.stripe_customer_id for row in await db.execute(known)}
    slots = asyncio.Semaphore(PARALLEL)

    async def send_one(event: MeterEvent) -> None:
        async with slots:
            await send(database, client, event, customers.get(event.tenant_id))

    await asyncio.gather(*map(send_one, batch))
    return len(batch)


async def send(database: Database, client: StripeClient, event: MeterEvent, customer: str | None) -> None:
    """Send or cancel one event, and store what has become of it."""
    if customer is None:
        await postpone(database, event, "customer_missing")
        return
    try:
        if event.state == "canceling":
            await cancel(database, client, event)
        elif not is_forgotten(event):
            await create(database, client, event, customer)
        else:
            await look_up(database, client, event, customer)
    except stripe.StripeError as error:
        await postpone(database, event, error.code or type(error).__name__)


async def postpone(database: Database, event: MeterEvent, error: str) -> None:
    """Send an event again later."""
    pause = timedelta(seconds=jittered(exponential(event.attempts, *RETRY_SECONDS)))
    async with database.begin() as db:
        await meter_events.postpone(db, event, error, pause)


def is_forgotten(event: MeterEvent) -> bool:
    """Return whether Stripe may have received an event so long ago that it would count it a second time."""
    first = event.first_attempt_at
    return first is not None and first < datetime.now(UTC) - meter_events.KNOWN_FOR


async def create(database: Database, client: StripeClient, event: MeterEvent, customer: str) -> None:
    """Send an event. That Stripe knows its identifier says that an earlier attempt has arrived."""
    code = None
    try:
        await client.v1.billing.meter_events.create_async(
            {
                "event_name": event.event_name,
                "identifier": event.identifier,
                "payload": {"stripe_customer_id": customer, "value": to_text(event.value)},
                "timestamp": int(event.timestamp.timestamp()),
            }
        )
    except stripe.InvalidRequestError as error:
        code = error.code or "invalid_request"
    async with database.begin() as db:
        if code in {None, DUPLICATE}:
            await meter_events.mark_sent(db, event)
        else:
            await meter_events.mark_rejected(db, event, str(code))


async def cancel(database: Database, client: StripeClient, event: MeterEvent) -> None:
    """Cancel an event; where Stripe does not, a negative one follows."""
    code = None
    try:
        await client.v1.billing.meter_event_adjustments.create_async(
            {"event_name": event.event_name, "type": "cancel", "cancel": {"identifier": event.identifier}}
        )
    except stripe.InvalidRequestError as error:
        code = error.code or "invalid_request"
    async with database.begin() as db:
        if code in {None, CANCELED, MISSING}:
            await meter_events.mark_canceled(db, event)
        else:
            await meter_events.restore(db, event, str(code))


async def look_up(database: Database, client: StripeClient, event: MeterEvent, customer: str) -> None:
    """Find out by Stripe's sum whether an event has arrived, and send it only if it has certainly not."""
    counted = await counted_in_period(database, client, event, customer)
    own = {name: getattr(event, name) for name in ("tenant_id", "feature_key", "period_start")}
    async with database.begin() as db:
        sums = await meter_events.sums_by_state(db, own)
        before = sums.get("sent", Decimal(0))
        is_known = not {"unclear", "canceling"} & sums.keys() and sums.get("pending") == event.value
        if is_known and counted == before + event.value:
            await meter_events.mark_sent(db, event)
            return
        if not is_known or counted != before:
            await meter_events.mark_unclear(db, event)
            return
        await meter_events.renew(db, event)
    await create(database, client, event, customer)


async def counted_in_period(
    database: Database, client: StripeClient, event: MeterEvent, customer: str
) -> Decimal | None:
    """Return what Stripe has counted in the period of an event."""
    key = (event.tenant_id, event.feature_key, TENANT_SCOPE, event.period_start)
    async with database.begin() as db:
        total = await db.get_one(UsageTotal, key)
    end = total.period_end or datetime.now(UTC) + meter_events.MINUTE
    return await meter_total(client, customer, event.event_name, event.period_start, end)
