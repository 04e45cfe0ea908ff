"""Applies Stripe's state to our rows: compares before it writes, and publishes only what has changed.

Every function locks the tenant, so that two appliers of one tenant follow each other, and returns whether
anything was changed.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import stripe
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook import entitlement_versions, erasure
from billing_webhook.access import GRACE_PERIOD
from billing_webhook.billing_events.publish import publish
from billing_webhook.events import (
    EntitlementsChanged,
    InvoicePaid,
    InvoicePaymentFailed,
    SubscriptionChanged,
    TenantEvent,
)
from billing_webhook.models import Customer, Invoice, Subscription
from billing_webhook.plans.catalog import FREE
from billing_webhook.subscriptions import access_changes
from billing_webhook.subscriptions.state import (
    at,
    id_of,
    invoice_values,
    requires_action,
    subscription_values,
)

# A change of one of these changes what the tenant may use.
ENTITLING = frozenset(
    {
        "plan_code",
        "status",
        "seats",
        "current_period_start",
        "current_period_end",
        "trial_end",
        "cancel_at",
        "pause_behavior",
        "pause_resumes_at",
        "past_due_since",
        "ended_at",
    }
)


class SecondSubscription(ValueError):
    """The tenant has another subscription at Stripe that has not ended."""


async def lock_tenant(db: AsyncSession, tenant_id: UUID) -> None:
    """Lock a tenant's billing until the transaction ends."""
    number = func.hashtextextended(f"billing:{tenant_id}", 0)
    await db.execute(select(func.pg_advisory_xact_lock(number)))


async def current(db: AsyncSession, tenant_id: UUID) -> Subscription | None:
    """Return a tenant's subscription that has not ended."""
    query = select(Subscription).where(Subscription.tenant_id == tenant_id, Subscription.ended_at.is_(None))
    found: Subscription | None = await db.scalar(query)
    return found


async def apply_subscription(
    db: AsyncSession,
    tenant_id: UUID,
    subscription: stripe.Subscription,
    *,
    price_map: Mapping[str, str] | None = None,
    fetched_at: datetime | None = None,
) -> bool:
    """Apply the state of a subscription that was read at `fetched_at`, by default now.

    A state that is older than the one applied last is ignored, and nothing revives what has ended. Raises
    PlanOfPriceNotFound or SecondSubscription.
    """
    fetched_at = fetched_at or datetime.now(UTC)
    values = subscription_values(subscription, price_map or {})
    await lock_tenant(db, tenant_id)
    query = select(Subscription).where(Subscription.stripe_subscription_id == subscription.id)
    row: Subscription | None = await db.scalar(query)
    if row is None:
        return await begin(db, tenant_id, subscription, values, fetched_at)
    if row.ended_at is not None or fetched_at < row.fetched_at:
        return False
    row.fetched_at = fetched_at
    values["past_due_since"] = past_due_since(row.past_due_since, subscription, fetched_at)
    if not (changed := assign(row, values)):
        return False
    row.version += 1
    await db.flush()
    await publish_changed(db, row, entitling=bool(changed & ENTITLING))
    await fall_back(db, row)
    return True


async def begin(
    db: AsyncSession,
    tenant_id: UUID,
    subscription: stripe.Subscription,
    values: dict[str, Any],
    fetched_at: datetime,
) -> bool:
    """Store a subscription that is new to us, in place of the free plan; raises SecondSubscription."""
    row = Subscription(
        tenant_id=tenant_id,
        stripe_subscription_id=subscription.id,
        started_at=at(subscription.created),
        fetched_at=fetched_at,
        version=1,
        past_due_since=past_due_since(None, subscription, fetched_at),
        **values,
    )
    if row.ended_at is None and (other := await current(db, tenant_id)):
        if other.stripe_subscription_id is not None:
            raise SecondSubscription(subscription.id)
        other.ended_at, other.status = datetime.now(UTC), "canceled"
        await db.flush()
    db.add(row)
    await db.flush()
    await publish_changed(db, row, entitling=True)
    return True


def past_due_since(
    known: datetime | None, subscription: stripe.Subscription, fetched_at: datetime
) -> datetime | None:
    """Return since when a payment is due: from the failed invoice, if it is known, and else from now."""
    if subscription.status != "past_due":
        return None
    invoice = subscription.latest_invoice
    return known or (at(invoice.created) if isinstance(invoice, stripe.Invoice) else fetched_at)


def assign(row: Any, values: Mapping[str, Any]) -> set[str]:
    """Set those columns that differ, and return their names."""
    changed = {name for name, value in values.items() if getattr(row, name) != value}
    for name in changed:
        setattr(row, name, values[name])
    return changed


async def fall_back(db: AsyncSession, ended: Subscription) -> None:
    """Assign the free plan to the tenant of a subscription that has ended."""
    if ended.ended_at is not None:
        await ensure_free(db, ended.tenant_id)


async def ensure_free(db: AsyncSession, tenant_id: UUID) -> bool:
    """Assign the free plan to a tenant without a subscription."""
    await lock_tenant(db, tenant_id)
    if await current(db, tenant_id):
        return False
    row = Subscription(
        tenant_id=tenant_id,
        plan_code=FREE,
        status="active",
        seats=1,
        items=[],
        cancel_at_period_end=False,
        version=1,
    )
    db.add(row)
    await db.flush()
    await publish_changed(db, row, entitling=True)
    return True


async def apply_subscription_deleted(db: AsyncSession, tenant_id: UUID, stripe_subscription_id: str) -> bool:
    """End a subscription that Stripe does not have any more."""
    await lock_tenant(db, tenant_id)
    row = await db.scalar(
        select(Subscription).where(
            Subscription.tenant_id == tenant_id,
            Subscription.stripe_subscription_id == stripe_subscription_id,
            Subscription.ended_at.is_(None),
        )
    )
    if row is None:
        return False
    row.status, row.ended_at, row.version = "canceled", datetime.now(UTC), row.version + 1
    await db.flush()
    await publish_changed(db, row, entitling=True)
    await fall_back(db, row)
    return True


async def apply_invoice(db: AsyncSession, tenant_id: UUID, invoice: stripe.Invoice) -> bool:
    """Apply the state of an invoice; what was paid or voided stays so."""
    await lock_tenant(db, tenant_id)
    values = invoice_values(invoice)
    if await db.scalar(select(erasure.is_purged(tenant_id))):
        values |= {"hosted_invoice_url": None, "invoice_pdf": None}
    row: Invoice | None = await db.get(Invoice, invoice.id)
    if row is None:
        row = Invoice(stripe_invoice_id=invoice.id, tenant_id=tenant_id, version=1, **values)
        db.add(row)
        changed = set(values)
    elif changed := newer(row, values):
        row.version += 1
    if not changed:
        return False
    await db.flush()
    # An event of its own asks the payer to act, once for each attempt: one email is enough.
    if not requires_action(invoice) and (event := invoice_event(row, changed)):
        await publish(db, event, tenant_id=tenant_id)
    return True


def newer(row: Invoice, values: dict[str, Any]) -> set[str]:
    """Set the columns of an invoice that differ, unless it was final already and now is not."""
    if row.status in {"paid", "void"} and values["status"] in {"draft", "open"}:
        return set()
    return assign(row, values)


def invoice_event(row: Invoice, changed: set[str]) -> TenantEvent | None:
    """Return what has happened to an invoice, if others should know."""
    fact = invoice_fact(row)
    if row.status == "paid" and "status" in changed:
        return InvoicePaid(**fact)
    if row.status == "open" and row.attempt_count and "attempt_count" in changed:
        return InvoicePaymentFailed(
            **fact,
            attempt_count=row.attempt_count,
            next_payment_attempt=row.next_payment_attempt,
            read_only_at=row.created_at + GRACE_PERIOD if row.stripe_subscription_id else None,
        )
    return None


def invoice_fact(row: Invoice) -> dict[str, Any]:
    """Return the fields that all events about an invoice have."""
    return {
        "tenant_id": row.tenant_id,
        "invoice_id": row.stripe_invoice_id,
        "number": row.number,
        "currency": row.currency,
        "amount_due": row.amount_due,
        "amount_paid": row.amount_paid,
        "hosted_invoice_url": row.hosted_invoice_url,
    }


async def apply_customer(db: AsyncSession, tenant_id: UUID, customer: stripe.Customer) -> bool:
    """Store which customer is a tenant's, and its email address."""
    await lock_tenant(db, tenant_id)
    email = None if await db.scalar(select(erasure.is_purged(tenant_id))) else customer.email
    row = await db.get(Customer, customer.id)
    if row is not None:
        return bool(assign(row, {"billing_email": email}))
    values = {"stripe_customer_id": customer.id, "tenant_id": tenant_id, "billing_email": email}
    stored = insert(Customer).values(values).on_conflict_do_nothing().returning(Customer.stripe_customer_id)
    return await db.scalar(stored) is not None


async def apply_customer_deleted(db: AsyncSession, stripe_customer_id: str) -> bool:
    """Mark a customer as deleted and end its subscriptions, as Stripe has."""
    marked = (
        update(Customer)
        .where(Customer.stripe_customer_id == stripe_customer_id, Customer.deleted_at.is_(None))
        .values(deleted_at=func.now())
        .returning(Customer.tenant_id)
    )
    tenant_id = await db.scalar(marked)
    if tenant_id is None:
        return False
    await lock_tenant(db, tenant_id)
    row = await current(db, tenant_id)
    if row is not None and row.stripe_subscription_id is not None:
        await apply_subscription_deleted(db, tenant_id, row.stripe_subscription_id)
    return True


async def tenant_of_customer(db: AsyncSession, customer: str | stripe.Customer) -> UUID | None:
    """Return whose customer this is; deleted ones are remembered."""
    query = select(Customer.tenant_id).where(Customer.stripe_customer_id == id_of(customer))
    found: UUID | None = await db.scalar(query)
    return found


async def publish_changed(db: AsyncSession, row: Subscription, *, entitling: bool) -> None:
    """Publish that a subscription has changed and, if it did, what the tenant may use."""
    if entitling:
        # Before `publish`, which others lock after it, too.
        await entitlement_versions.increment(db, row.tenant_id)
    fields = SubscriptionChanged.model_fields.keys() - {"subscription_id"}
    values = {name: getattr(row, name) for name in fields}
    await publish(db, SubscriptionChanged(subscription_id=row.id, **values), tenant_id=row.tenant_id)
    if entitling:
        changed = EntitlementsChanged(tenant_id=row.tenant_id, plan_code=row.plan_code, status=row.status)
        await publish(db, changed, tenant_id=row.tenant_id)
    await access_changes.publish_access(db, row, datetime.now(UTC))
