"""Compares the four views of usage: the ledger, the counters, Stripe's meters and its invoice lines."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from servicekit import erasure
from servicekit.database import Database
from servicekit.workers.base import LoopWorker, shielded
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from stripe import InvoiceLineItem, StripeClient

from billing_webhook.entitlements import plan
from billing_webhook.entitlements.counters import TENANT_SCOPE, ZERO
from billing_webhook.models import (
    Customer,
    StripeCursor,
    Subscription,
    UsageRecord,
    UsageTotal,
)
from billing_webhook.plans.catalog import Meter, catalog
from billing_webhook.usage import meter_events
from billing_webhook.usage.aggregations import TotalKey, total_of_ledger
from billing_webhook.usage.meters import meter_total

logger = logging.getLogger(__name__)

CURSOR = "usage_reconcile"
EVERY = timedelta(days=1)
POLL_SECONDS = 600.0
ATTEMPTS, PAUSE_SECONDS = 3, 1.0


@dataclass(frozen=True)
class Comparison:
    """A feature of a tenant in a period, as each of the views has it; None where a view does not know it."""

    tenant_id: UUID
    feature: str
    period_start: datetime
    ledger: Decimal
    counter: Decimal
    # Of the ledger, what is still on its way to Stripe, and what Stripe has rejected.
    pending: Decimal = Decimal(0)
    rejected: Decimal = Decimal(0)
    meter: Decimal | None = None
    invoice: Decimal | None = None

    @property
    def differs(self) -> bool:
        """Return whether the views contradict each other."""
        expected = self.ledger - self.pending - self.rejected
        wrong_meter = self.meter is not None and self.meter != expected
        wrong_invoice = self.invoice is not None and self.meter is not None and self.invoice != self.meter
        return self.ledger != self.counter or wrong_meter or wrong_invoice


async def compare(database: Database, client: StripeClient | None) -> AsyncIterator[Comparison]:
    """Compare all that has usage: by ledger and counter everywhere, and by Stripe's views where it bills."""
    async with database.begin() as db:
        counted = await compare_counters(db)
        subscriptions = [] if client is None else await billed(db)
    for comparison in counted:
        yield comparison
    for subscription, customer in subscriptions:
        for meter in catalog().meters:
            if client is not None:
                yield await compare_repeatedly(database, client, subscription, customer, meter)


async def compare_counters(db: AsyncSession) -> list[Comparison]:
    """Compare every counter with the sum of its records."""
    key = (UsageRecord.tenant_id, UsageRecord.feature_key, UsageRecord.period_start)
    sums = select(*key, func.sum(UsageRecord.quantity).label("total")).group_by(*key).subquery()
    totals = (
        select(UsageTotal.tenant_id, UsageTotal.feature_key, UsageTotal.period_start, UsageTotal.used)
        .where(UsageTotal.scope == TENANT_SCOPE)
        .subquery()
    )
    columns = ("tenant_id", "feature_key", "period_start")
    # The dimensions of purged tenants were erased.
    purged = (await db.scalars(erasure.purgeable_tenants())).all() if catalog().aggregations else ()
    unique = [each.feature for each in catalog().aggregations if each.dimension]
    uncountable = {(tenant_id, feature) for tenant_id in purged for feature in unique}
    same = [sums.c[name] == totals.c[name] for name in columns]
    query = select(
        *(func.coalesce(sums.c[name], totals.c[name]).label(name) for name in columns),
        func.coalesce(sums.c.total, 0).label("ledger"),
        func.coalesce(totals.c.used, 0).label("counter"),
    ).select_from(sums.outerjoin(totals, same[0] & same[1] & same[2], full=True))
    return [
        Comparison(row.tenant_id, row.feature_key, row.period_start, await ledger_of(db, row), row.counter)
        for row in (await db.execute(query)).all()
        if (row.tenant_id, row.feature_key) not in uncountable
    ]


async def ledger_of(db: AsyncSession, row: Any) -> Decimal:
    """Return what the ledger has for a counter."""
    if catalog().aggregation(row.feature_key) is None:
        return Decimal(row.ledger)
    return await total_of_ledger(db, TotalKey(row.tenant_id, row.feature_key, row.period_start))


async def billed(db: AsyncSession) -> list[tuple[Subscription, str]]:
    """Return the subscriptions that Stripe bills, with their customers."""
    query = (
        select(Subscription, Customer.stripe_customer_id)
        .join(Customer, Customer.tenant_id == Subscription.tenant_id)
        .where(Subscription.ended_at.is_(None), Subscription.stripe_subscription_id.is_not(None))
        .where(Customer.deleted_at.is_(None))
    )
    return [(subscription, customer) for subscription, customer in await db.execute(query)]


async def compare_repeatedly(
    database: Database, client: StripeClient, subscription: Subscription, customer: str, meter: Meter
) -> Comparison:
    """Compare again while something differs: the views are read one after the other, and usage goes on."""
    for attempt in range(ATTEMPTS):
        compared = await compare_meter(database, client, subscription, customer, meter)
        if not compared.differs:
            break
        await asyncio.sleep(attempt * PAUSE_SECONDS)
    return compared


async def compare_meter(
    database: Database, client: StripeClient, subscription: Subscription, customer: str, meter: Meter
) -> Comparison:
    """Compare a feature of a subscription's current period with what Stripe has counted and will bill."""
    period = plan.period_of(subscription, datetime.now(UTC))
    key = {
        "tenant_id": subscription.tenant_id,
        "feature_key": meter.feature,
        "period_start": period.start,
    }
    async with database.begin() as db:
        ledger = await total_of_ledger(db, TotalKey(subscription.tenant_id, meter.feature, period.start))
        counter = select(UsageTotal.used, UsageTotal.sent).filter_by(**key, scope=TENANT_SCOPE)
        used, sent = (await db.execute(counter)).one_or_none() or (ZERO, ZERO)
        by_state = await meter_events.sums_by_state(db, key)
    unfinished = by_state.get("pending", ZERO) - by_state.get("canceling", ZERO)
    return Comparison(
        subscription.tenant_id,
        meter.feature,
        period.start,
        ledger=ledger,
        counter=used,
        pending=used - sent + unfinished,
        rejected=by_state.get("rejected", ZERO),
        meter=await meter_total(client, customer, meter.event_name, period.start, period.end),
        invoice=await invoice_quantity(client, subscription, meter),
    )


async def invoice_quantity(client: StripeClient, subscription: Subscription, meter: Meter) -> Decimal | None:
    """Return what the next invoice bills of a feature; None where it is not billed by use."""
    keys = {
        price.lookup_key
        for each in catalog().plans
        for price in each.metered_prices
        if price.feature == meter.feature
    }
    prices = {item["price"] for item in subscription.items if item.get("lookup_key") in keys}
    if not prices:
        return None
    preview = await client.v1.invoices.create_preview_async(
        {"subscription": str(subscription.stripe_subscription_id)}
    )
    own = [line for line in preview.lines.data if price_of(line) in prices]
    return sum((Decimal(line.quantity or 0) for line in own), Decimal(0))


def price_of(line: InvoiceLineItem) -> str | None:
    """Return the id of the price of an invoice's line."""
    details = line.pricing.price_details if line.pricing else None
    price = details.price if details else None
    return price if price is None or isinstance(price, str) else price.id


class UsageReconcileWorker(LoopWorker):
    """Compares once a day, on one of the replicas, and logs what differs."""

    def __init__(self, database: Database, client: StripeClient | None) -> None:
        super().__init__("usage-reconcile")
        self._database = database
        self._client = client

    async def begin(self) -> None:
        """Verify that the database is reachable."""
        await self._database.ping()

    async def step(self) -> float:
        """Compare when a day has passed since the last time."""
        if await claim(self._database):
            await shielded(log_differences(self._database, self._client))
        return POLL_SECONDS


async def claim(database: Database) -> bool:
    """Return whether it is this replica's turn; for the first time a day after the installation."""
    now = datetime.now(UTC)
    first = insert(StripeCursor).values(name=CURSOR, started_at=now).on_conflict_do_nothing()
    is_due = (StripeCursor.name == CURSOR, StripeCursor.started_at < now - EVERY)
    turn = update(StripeCursor).where(*is_due).values(started_at=now).returning(StripeCursor.name)
    async with database.begin() as db:
        await db.execute(first)
        return await db.scalar(turn) is not None


async def log_differences(database: Database, client: StripeClient | None) -> int:
    """Log each difference as an error, and return their number."""
    differing = 0
    async for each in compare(database, client):
        if each.differs:
            differing += 1
            logger.error(
                "usage differs",
                extra={"tenant_id": str(each.tenant_id), "feature": each.feature, **views(each)},
            )
    return differing


def views(comparison: Comparison) -> dict[str, str]:
    """Return the views of a comparison as text."""
    names = ("ledger", "counter", "pending", "rejected", "meter", "invoice")
    return {name: str(getattr(comparison, name)) for name in names}
