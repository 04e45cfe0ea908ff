"""Records on their way to Stripe's meters: stored with the record, and sent by a worker.

The record's id is the identifier of its meter event, by which Stripe counts a repeated one once.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prometheus_client import Counter
from servicekit.database import wake_on_commit
from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from billing_webhook.models import MeterProjection, UsageRecord
from billing_webhook.plans.catalog import catalog

logger = logging.getLogger(__name__)

WORK = "meter_projections"
BATCH_SIZE = 100
# Longer than all attempts of the SDK for a batch take.
LEASE = timedelta(minutes=5)
# Stripe cancels a meter event within 24 hours of receiving it.
CANCELABLE_FOR = timedelta(hours=23)

REJECTED = Counter("billing_meter_events_rejected_total", "Usage records that Stripe's meters do not accept.")


async def enqueue(db: AsyncSession, records: Iterable[UsageRecord]) -> None:
    """Store that records go to Stripe's meters: those of a subscription, of features that have a meter."""
    rows = [await row_of(db, record) for record in records if is_metered(record)]
    if rows:
        await db.execute(insert(MeterProjection), rows)
        wake_on_commit(db, WORK)


def is_metered(record: UsageRecord) -> bool:
    """Return whether Stripe counts what a record is about."""
    return record.subscription_id is not None and catalog().meter(record.feature_key) is not None


async def row_of(db: AsyncSession, record: UsageRecord) -> dict[str, Any]:
    """Return the row of a record: an event, or for a reversal in time the cancellation of one."""
    meter = catalog().meter(record.feature_key)
    return {
        "record_id": record.id,
        "tenant_id": record.tenant_id,
        "event_name": meter.event_name if meter else "",
        "value": record.quantity,
        # What comes after its period was billed counts in the current one.
        "timestamp": record.received_at if record.is_adjustment or record.reverses_id else record.occurred_at,
        "cancels_id": await cancelable(db, record),
        "state": "pending",
    }


async def cancelable(db: AsyncSession, record: UsageRecord) -> UUID | None:
    """Return the id of the meter event that a reversal cancels; None where it has to be a negative one."""
    original = await db.get(UsageRecord, record.reverses_id) if record.reverses_id else None
    if original is None or original.received_at < record.received_at - CANCELABLE_FOR:
        return None
    return original.id


async def lease(db: AsyncSession) -> Sequence[MeterProjection]:
    """Lease a batch of what is due; a cancellation is due when its event was sent."""
    original = aliased(MeterProjection)
    waits = (
        select(original.record_id)
        .where(original.record_id == MeterProjection.cancels_id, original.state == "pending")
        .exists()
    )
    due = (
        select(MeterProjection.record_id)
        .where(MeterProjection.state == "pending", MeterProjection.next_attempt_at <= func.now(), ~waits)
        .order_by(MeterProjection.next_attempt_at)
        .limit(BATCH_SIZE)
        .with_for_update(skip_locked=True)
    )
    leased = (
        update(MeterProjection)
        .where(MeterProjection.record_id.in_(due))
        .values(next_attempt_at=func.now() + LEASE, attempts=MeterProjection.attempts + 1)
        .returning(MeterProjection)
    )
    return (await db.scalars(leased)).all()


async def mark_sent(db: AsyncSession, record_ids: Sequence[UUID]) -> None:
    """Store that Stripe has received records."""
    sent = {"state": "sent", "sent_at": datetime.now(UTC), "error": None}
    await db.execute(update(MeterProjection).where(MeterProjection.record_id.in_(record_ids)).values(sent))


async def mark_rejected(db: AsyncSession, record_ids: Sequence[UUID], error: str) -> None:
    """Store that Stripe does not count records, and have an operator know."""
    rejected = update(MeterProjection).where(MeterProjection.record_id.in_(record_ids))
    marked = await db.scalars(
        rejected.values(state="rejected", error=error).returning(MeterProjection.record_id)
    )
    for record_id in marked:
        REJECTED.inc()
        logger.error("stripe rejected usage", extra={"record_id": str(record_id), "stripe_code": error})


async def mark_reported(db: AsyncSession, identifiers: Iterable[str], error: str) -> None:
    """Store what a meter's error report says of meter events."""
    known = [UUID(text) for text in identifiers if is_uuid(text)]
    await mark_rejected(db, known, error)


def is_uuid(text: str) -> bool:
    """Return whether a text is the id of a record."""
    try:
        UUID(text)
    except ValueError:
        return False
    return True
