"""Compares the subscriptions at Stripe with ours."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

import stripe
from servicekit.database import Database
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from stripe import StripeClient

from billing_webhook.models import Subscription
from billing_webhook.settings import Settings
from billing_webhook.stripe_events.fetch import fetch_subscription
from billing_webhook.subscriptions import sync
from billing_webhook.subscriptions.state import subscription_values

PAGE = 100


@dataclass(frozen=True)
class Drift:
    """A subscription that is not ours as it is Stripe's; `differences` are columns, or what is missing."""

    subscription_id: str
    tenant_id: UUID | None
    differences: tuple[str, ...]
    is_applied: bool = False


async def reconcile(
    database: Database, client: StripeClient, settings: Settings, *, is_applied: bool = False
) -> list[Drift]:
    """Return all drift, after applying Stripe's state if asked to; raises StripeError."""
    drifts, known = [], set[str]()
    fetched_at = datetime.now(UTC)
    async for subscription in active_subscriptions(client):
        known.add(subscription.id)
        async with database.begin() as db:
            drift = await compare(db, subscription, settings)
            if drift and is_applied:
                price_map = settings.stripe_product_price_map
                drift = await apply(db, drift, subscription, price_map, fetched_at)
        drifts += [drift] if drift else []
    for subscription_id, tenant_id in await ours(database):
        if subscription_id not in known:
            drifts += await compare_ended(database, client, subscription_id, tenant_id, is_applied)
    return drifts


async def active_subscriptions(client: StripeClient) -> AsyncIterator[stripe.Subscription]:
    """Yield Stripe's subscriptions that have not ended."""
    page = await client.v1.subscriptions.list_async({"limit": PAGE})
    while page.data:
        for subscription in page.data:
            yield subscription
        if not page.has_more:
            return
        page = await page.next_page_async()


async def ours(database: Database) -> list[tuple[str, UUID]]:
    """Return our subscriptions that have not ended."""
    query = select(Subscription.stripe_subscription_id, Subscription.tenant_id).where(
        Subscription.ended_at.is_(None), Subscription.stripe_subscription_id.is_not(None)
    )
    async with database.begin() as db:
        return [(str(row.stripe_subscription_id), row.tenant_id) for row in await db.execute(query)]


async def compare(db: AsyncSession, subscription: stripe.Subscription, settings: Settings) -> Drift | None:
    """Return how our row differs, None if it does not."""
    query = select(Subscription).where(Subscription.stripe_subscription_id == subscription.id)
    row: Subscription | None = await db.scalar(query)
    if row is None:
        tenant_id = await sync.tenant_of_customer(db, subscription.customer)
        return Drift(subscription.id, tenant_id, ("not stored" if tenant_id else "customer unknown",))
    values = subscription_values(subscription, settings.stripe_product_price_map)
    differences = tuple(sorted(name for name, value in values.items() if getattr(row, name) != value))
    return Drift(subscription.id, row.tenant_id, differences) if differences else None


async def apply(
    db: AsyncSession,
    drift: Drift,
    subscription: stripe.Subscription,
    price_map: Mapping[str, str],
    fetched_at: datetime,
) -> Drift:
    """Apply Stripe's state, where the tenant is known."""
    if drift.tenant_id is None:
        return drift
    is_applied = await sync.apply_subscription(
        db, drift.tenant_id, subscription, price_map=price_map, fetched_at=fetched_at
    )
    return replace(drift, is_applied=is_applied)


async def compare_ended(
    database: Database, client: StripeClient, subscription_id: str, tenant_id: UUID, is_applied: bool
) -> list[Drift]:
    """Return a subscription of ours that has ended at Stripe, or is not there."""
    try:
        subscription = await fetch_subscription(client, subscription_id)
    except stripe.InvalidRequestError:
        subscription = None
    # It may have begun since the list was read.
    if subscription is not None and getattr(subscription, "status", None) not in {
        "canceled",
        "incomplete_expired",
    }:
        return []
    if is_applied:
        async with database.begin() as db:
            is_applied = await sync.apply_subscription_deleted(db, tenant_id, subscription_id)
    return [Drift(subscription_id, tenant_id, ("ended",), is_applied)]
