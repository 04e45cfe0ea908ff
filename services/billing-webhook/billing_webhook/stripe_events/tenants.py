"""Whose an event is: the tenant of its customer in our own table, or else the one that we wrote at Stripe."""

from collections.abc import Iterator
from uuid import UUID

import stripe
from pydantic import JsonValue
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook.models import Subscription
from billing_webhook.stripe_events.envelope import Envelope, Json, text
from billing_webhook.subscriptions.sync import tenant_of_customer


class CustomerUnmapped(Exception):
    """Nothing says which tenant the customer belongs to."""


class TenantMismatch(Exception):
    """What was written at Stripe names another tenant than our table."""


async def resolve(db: AsyncSession, event: Envelope, fetched: stripe.StripeObject | None) -> UUID:
    """Return the tenant of an event; raises CustomerUnmapped or TenantMismatch."""
    objects = [fetched.to_dict()] if fetched else []
    objects.append(event.snapshot)
    stored = await stored_tenant(db, event, objects)
    named = next((tenant for each in objects for tenant in named_tenants(each)), None)
    if stored and named and stored != named:
        raise TenantMismatch(f"our table has {stored}, the metadata {named}")
    if not (tenant_id := stored or named):
        raise CustomerUnmapped(
            next(filter(None, map(customer_of, objects)), event.subject.id or "no customer")
        )
    return tenant_id


async def stored_tenant(db: AsyncSession, event: Envelope, objects: list[Json]) -> UUID | None:
    """Return the tenant whose customer, or subscription, the event is about, as we have stored it."""
    for customer in filter(None, map(customer_of, objects)):
        if tenant_id := await tenant_of_customer(db, customer):
            return tenant_id
    if event.subject.kind != "subscription":
        return None
    query = select(Subscription.tenant_id).where(Subscription.stripe_subscription_id == event.subject.id)
    stored: UUID | None = await db.scalar(query)
    return stored


def customer_of(fields: Json) -> str | None:
    """Return the customer of an object; a dispute has the one of its charge."""
    if fields.get("object") == "customer":
        return text(fields, "id")
    charge = fields.get("charge")
    return text(fields, "customer") or (text(charge, "customer") if isinstance(charge, dict) else None)


def named_tenants(fields: Json) -> Iterator[UUID]:
    """Yield the tenants in an object's metadata; an invoice carries those of its subscription."""
    parent = fields.get("parent")
    details = parent.get("subscription_details") if isinstance(parent, dict) else None
    for source in (fields, details):
        metadata: JsonValue = source.get("metadata") if isinstance(source, dict) else None
        name = text(metadata, "tenant_id") if isinstance(metadata, dict) else None
        if name and (tenant_id := as_uuid(name)):
            yield tenant_id


def as_uuid(name: str) -> UUID | None:
    """Read a UUID, if it is one."""
    try:
        return UUID(name)
    except ValueError:
        return None


async def restrict(db: AsyncSession, tenant_id: UUID) -> None:
    """Have the database refuse rows of other tenants until the transaction ends."""
    await db.execute(select(func.set_config("acme.tenant_id", str(tenant_id), True)))
