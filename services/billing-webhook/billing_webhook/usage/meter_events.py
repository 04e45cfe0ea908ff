"""What counters have grown by, on its way to Stripe's meters: many records of the ledger are one meter event.

A counter has one meter event that is not finished at a time. So what Stripe has counted in a period is known
but for that event, and an attempt of which the outcome is unknown can be looked up when Stripe has forgotten
its identifier.
"""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from prometheus_client import Counter
from sqlalchemy import and_, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook.entitlements.counters import TENANT_SCOPE, CounterKey
from billing_webhook.entitlements.plan import TenantPlans
from billing_webhook.models import MeterEvent, UsageRecord, UsageTotal
from billing_webhook.plans.catalog import catalog

logger = logging.getLogger(__name__)

BATCH_SIZE = 100
# Longer than all attempts of the SDK for a batch take.
LEASE = timedelta(minutes=5)
# Stripe forgets an identifier 24 hours after it has received it, and cancels no event after that.
KNOWN_FOR = timedelta(hours=23)
MINUTE = timedelta(minutes=1)
OPEN = ("pending", "canceling")
OWN_COUNTER = and_(
    MeterEvent.tenant_id == UsageTotal.tenant_id,
    MeterEvent.feature_key == UsageTotal.feature_key,
    MeterEvent.period_start == UsageTotal.period_start,
    UsageTotal.scope == TENANT_SCOPE,
)
HAS_OPEN_EVENT = exists().where(OWN_COUNTER, MeterEvent.state.in_(OPEN))

REJECTED = Counter("billing_meter_events_rejected_total", "Meter events that Stripe does not accept.")
UNCLEAR = Counter("billing_meter_events_unclear_total", "Meter events of which it is unknown if they count.")


def schedule(
    records: Iterable[UsageRecord], totals: Mapping[CounterKey, UsageTotal], plans: TenantPlans, now: datetime
) -> None:
    """Have the counters of records sent to Stripe: those of a subscription, of features that have a meter."""
    billed = [record for record in records if record.subscription_id is not None]
    for feature, start in {(record.feature_key, record.period_start) for record in billed}:
        if catalog().meter(feature) is not None:
            total = totals[CounterKey(plans.tenant_id, feature, TENANT_SCOPE, start)]
            total.period_end = plans.at(start).period.end
            total.unsent_since = total.unsent_since or now


async def create_due(db: AsyncSession, window: timedelta) -> int:
    """Create the meter events of counters that have changed, and return their number."""
    now = datetime.now(UTC)
    due = (
        select(UsageTotal)
        .where(UsageTotal.unsent_since <= now - window, ~HAS_OPEN_EVENT)
        .order_by(UsageTotal.unsent_since)
        .limit(BATCH_SIZE)
        .with_for_update(skip_locked=True)
    )
    totals = (await db.scalars(due)).all()
    for total in totals:
        await create(db, total, now)
    return len(totals)


async def seconds_until_due(db: AsyncSession, window: timedelta) -> float:
    """Return the seconds until an event is to be created or sent; infinity without any."""
    created_at = func.min(UsageTotal.unsent_since) + window
    sent_at = func.min(MeterEvent.next_attempt_at)
    counters = select(created_at).where(UsageTotal.unsent_since.is_not(None), ~HAS_OPEN_EVENT)
    events = select(sent_at).where(MeterEvent.state.in_(OPEN))
    moments = [counters.scalar_subquery(), events.scalar_subquery()]
    seconds = await db.scalar(select(func.extract("epoch", func.least(*moments) - func.now())))
    return math.inf if seconds is None else float(seconds)


async def create(db: AsyncSession, total: UsageTotal, now: datetime) -> None:
    """Create the meter event of what a counter has changed by since the last one, or cancel one before."""
    difference = total.used - total.sent
    total.unsent_since = None
    if difference < 0 and (canceled := await find_cancelable(db, total, -difference, now)):
        canceled.state, canceled.next_attempt_at = "canceling", now
        total.sent -= canceled.value
        # What of it still counts is sent again.
        total.unsent_since = now if total.used != total.sent else None
    elif difference:
        total.sent = total.used
        total.meter_event_count += 1
        db.add(event_of(total, difference, now))


async def find_cancelable(
    db: AsyncSession, total: UsageTotal, value: Decimal, now: datetime
) -> MeterEvent | None:
    """Return the least event that counts at least a value, and that Stripe still cancels."""
    own = {"tenant_id": total.tenant_id, "feature_key": total.feature_key, "period_start": total.period_start}
    query = (
        select(MeterEvent)
        .filter_by(**own, state="sent")
        .where(MeterEvent.cancelable_until > now, MeterEvent.value >= value)
        .order_by(MeterEvent.value)
        .limit(1)
    )
    found: MeterEvent | None = await db.scalar(query.with_for_update())
    return found


def event_of(total: UsageTotal, value: Decimal, now: datetime) -> MeterEvent:
    """Return the next meter event of a counter; its number in the period makes the identifier."""
    meter = catalog().meter(total.feature_key)
    start = int(total.period_start.timestamp())
    return MeterEvent(
        identifier=f"{total.tenant_id}:{total.feature_key}:{start}:{total.meter_event_count}",
        tenant_id=total.tenant_id,
        feature_key=total.feature_key,
        period_start=total.period_start,
        event_name=meter.event_name if meter else total.feature_key,
        value=value,
        timestamp=timestamp_of(total, now),
        state="pending",
        next_attempt_at=now,
    )


def timestamp_of(total: UsageTotal, now: datetime) -> datetime:
    """Return when an event counts: now, or at the end of its period.

    Stripe's sums are of whole minutes, and the one in which a period ends is of the next period.
    """
    if total.period_end is None:
        return now
    last = start_of_minute(total.period_end) - timedelta(seconds=1)
    return max(min(now, last), total.period_start)


def start_of_minute(time: datetime) -> datetime:
    """Return the start of a minute."""
    return time.replace(second=0, microsecond=0)


async def lease(db: AsyncSession) -> Sequence[MeterEvent]:
    """Lease a batch of events that are due."""
    now = func.now()
    due = (
        select(MeterEvent.identifier)
        .where(MeterEvent.state.in_(OPEN), MeterEvent.next_attempt_at <= now)
        .order_by(MeterEvent.next_attempt_at)
        .limit(BATCH_SIZE)
        .with_for_update(skip_locked=True)
    )
    leased = (
        update(MeterEvent)
        .where(MeterEvent.identifier.in_(due))
        .values(
            next_attempt_at=now + LEASE,
            attempts=MeterEvent.attempts + 1,
            first_attempt_at=func.coalesce(MeterEvent.first_attempt_at, now),
        )
        .returning(MeterEvent)
    )
    return (await db.scalars(leased)).all()


async def renew(db: AsyncSession, event: MeterEvent) -> None:
    """Store that Stripe has not received an event in all attempts until now."""
    this = update(MeterEvent).where(MeterEvent.identifier == event.identifier)
    await db.execute(this.values(first_attempt_at=func.now()))


async def mark_sent(db: AsyncSession, event: MeterEvent) -> None:
    """Store that Stripe has received an event."""
    await change(
        db,
        event,
        state="sent",
        sent_at=func.now(),
        cancelable_until=MeterEvent.first_attempt_at + KNOWN_FOR,
        error=None,
    )


async def mark_canceled(db: AsyncSession, event: MeterEvent) -> None:
    """Store that Stripe does not count an event any more."""
    await change(db, event, state="canceled", error=None)


async def restore(db: AsyncSession, event: MeterEvent, error: str) -> None:
    """Store that Stripe does not cancel an event, so that a negative one is sent in its place."""
    own = (UsageTotal.tenant_id == event.tenant_id, UsageTotal.feature_key == event.feature_key)
    counter = update(UsageTotal).where(
        *own, UsageTotal.period_start == event.period_start, UsageTotal.scope == TENANT_SCOPE
    )
    # The counter is locked first, as where events are created.
    await db.execute(counter.values(sent=UsageTotal.sent + event.value, unsent_since=func.now()))
    await change(db, event, state="sent", cancelable_until=None, error=error)


async def postpone(db: AsyncSession, event: MeterEvent, error: str, pause: timedelta) -> None:
    """Store when an event is sent again."""
    await change(db, event, next_attempt_at=func.now() + pause, error=error)


async def mark_unclear(db: AsyncSession, event: MeterEvent) -> None:
    """Store that an event is not sent again, since Stripe may count it; and have an operator know."""
    await change(db, event, state="unclear", error="outcome_unknown")
    UNCLEAR.inc()
    logger.error("it is unknown if stripe counts usage", extra={"identifier": event.identifier})


async def mark_rejected(db: AsyncSession, event: MeterEvent, error: str) -> None:
    """Store that Stripe does not accept an event, and have an operator know."""
    await change(db, event, state="rejected", error=error)
    log_rejected(event.identifier, error)


async def change(db: AsyncSession, event: MeterEvent, **values: object) -> None:
    """Change an event, unless another worker has finished it meanwhile."""
    same = (MeterEvent.identifier == event.identifier, MeterEvent.state == event.state)
    await db.execute(update(MeterEvent).where(*same).values(values))


async def mark_reported(db: AsyncSession, identifiers: Iterable[str], error: str) -> None:
    """Store what a meter's error report says of meter events."""
    theirs = (MeterEvent.identifier.in_(list(identifiers)), MeterEvent.state.in_(("pending", "sent")))
    reported = update(MeterEvent).where(*theirs).values(state="rejected", error=error)
    for identifier in await db.scalars(reported.returning(MeterEvent.identifier)):
        log_rejected(identifier, error)


def log_rejected(identifier: str, error: str) -> None:
    """Have an operator know that usage is not billed."""
    REJECTED.inc()
    logger.error("stripe rejected usage", extra={"identifier": identifier, "stripe_code": error})


async def sums_by_state(db: AsyncSession, key: Mapping[str, object]) -> dict[str, Decimal]:
    """Sum the events of a counter by what has become of them."""
    query = select(MeterEvent.state, func.sum(MeterEvent.value).label("total"))
    query = query.where(*(getattr(MeterEvent, name) == value for name, value in key.items()))
    return {row.state: row.total for row in await db.execute(query.group_by(MeterEvent.state))}
