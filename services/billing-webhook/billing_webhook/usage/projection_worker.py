"""Sends records to Stripe's meters."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import stripe
from servicekit.backoff import exponential, jittered
from servicekit.database import Database
from servicekit.workers.base import LoopWorker, shielded
from sqlalchemy import select, update
from stripe import StripeClient

from billing_webhook.models import Customer, MeterProjection
from billing_webhook.quantities import to_text
from billing_webhook.usage import projection

POLL_SECONDS = 5.0
PARALLEL = 8
RETRY_SECONDS = (2.0, 900.0)
DUPLICATE, TOO_OLD = "duplicate_meter_event", "meter_event_too_old_to_cancel"
CANCELED = "meter_event_already_canceled"


@dataclass
class Results:
    """What has become of a batch."""

    sent: list[UUID] = field(default_factory=list)
    rejected: dict[UUID, str] = field(default_factory=dict)
    retried: dict[UUID, str] = field(default_factory=dict)
    # Too late to be canceled: to be sent as negative events.
    uncanceled: list[UUID] = field(default_factory=list)


class MeterProjectionWorker(LoopWorker):
    """Sends in batches; several replicas may run. What Stripe does not answer is sent again, for ever."""

    def __init__(self, database: Database, client: StripeClient) -> None:
        super().__init__("meter-projection", wakeup=database.wakeup(projection.WORK))
        self._database = database
        self._client = client

    async def begin(self) -> None:
        """Verify that the database is reachable."""
        await self._database.ping()

    async def step(self) -> float:
        """Send one batch, and the next one at once while there are more."""
        return 0 if await shielded(send_batch(self._database, self._client)) else POLL_SECONDS


async def send_batch(database: Database, client: StripeClient) -> int:
    """Send a batch of what is due, and return its size. No transaction is open meanwhile."""
    async with database.begin() as db:
        batch = await projection.lease(db)
        owners = {row.tenant_id for row in batch}
        known = select(Customer.tenant_id, Customer.stripe_customer_id).where(
            Customer.tenant_id.in_(owners), Customer.deleted_at.is_(None)
        )
        customers = {row.tenant_id: row.stripe_customer_id for row in await db.execute(known)}
    results, slots = Results(), asyncio.Semaphore(PARALLEL)

    async def send_one(row: MeterProjection) -> None:
        async with slots:
            await send(client, row, customers.get(row.tenant_id), results)

    await asyncio.gather(*map(send_one, batch))
    await store(database, batch_attempts={row.record_id: row.attempts for row in batch}, results=results)
    return len(batch)


async def send(client: StripeClient, row: MeterProjection, customer: str | None, results: Results) -> None:
    """Send one record, and note what has become of it."""
    if customer is None:
        results.retried[row.record_id] = "customer_missing"
        return
    try:
        await (create_event(client, row, customer) if row.cancels_id is None else cancel_event(client, row))
    except stripe.InvalidRequestError as error:
        note_refusal(row, error.code or "invalid_request", results)
    except stripe.StripeError as error:
        results.retried[row.record_id] = error.code or type(error).__name__
    else:
        results.sent.append(row.record_id)


def note_refusal(row: MeterProjection, code: str, results: Results) -> None:
    """Note what a refusal means: that it was received before, that it is too late, or that it is wrong."""
    if code in {DUPLICATE, CANCELED}:
        results.sent.append(row.record_id)
    elif code == TOO_OLD:
        results.uncanceled.append(row.record_id)
    else:
        results.rejected[row.record_id] = code


async def create_event(client: StripeClient, row: MeterProjection, customer: str) -> None:
    """Send a meter event."""
    await client.v1.billing.meter_events.create_async(
        {
            "event_name": row.event_name,
            "identifier": str(row.record_id),
            "payload": {"stripe_customer_id": customer, "value": to_text(row.value)},
            "timestamp": int(row.timestamp.timestamp()),
        }
    )


async def cancel_event(client: StripeClient, row: MeterProjection) -> None:
    """Cancel a meter event."""
    await client.v1.billing.meter_event_adjustments.create_async(
        {"event_name": row.event_name, "type": "cancel", "cancel": {"identifier": str(row.cancels_id)}}
    )


async def store(database: Database, batch_attempts: dict[UUID, int], results: Results) -> None:
    """Store what has become of a batch."""
    async with database.begin() as db:
        if results.sent:
            await projection.mark_sent(db, results.sent)
        for record_id, code in results.rejected.items():
            await projection.mark_rejected(db, [record_id], code)
        for record_id, code in results.retried.items():
            seconds = jittered(exponential(batch_attempts[record_id], *RETRY_SECONDS))
            due = {"next_attempt_at": datetime.now(UTC) + timedelta(seconds=seconds), "error": code}
            await db.execute(
                update(MeterProjection).where(MeterProjection.record_id == record_id).values(due)
            )
        if results.uncanceled:
            at_once = {"cancels_id": None, "next_attempt_at": datetime.now(UTC)}
            await db.execute(
                update(MeterProjection)
                .where(MeterProjection.record_id.in_(results.uncanceled))
                .values(at_once)
            )
