"""Stores which features Stripe grants a customer."""

import stripe
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook import entitlement_versions
from billing_webhook.billing_events.publish import publish
from billing_webhook.events import EntitlementsChanged
from billing_webhook.stripe_events.handling import Handling, change_state
from billing_webhook.subscriptions import sync


async def apply(db: AsyncSession, about: Handling) -> None:
    """Store the features, and publish if they have changed."""
    granted = about.fetched.data if isinstance(about.fetched, stripe.ListObject) else []
    state = ",".join(sorted(each.lookup_key for each in granted))
    customer = about.event.customer or about.event.subject.id or about.event.id
    if not await change_state(db, about, state, customer):
        return
    await entitlement_versions.increment(db, about.tenant)
    if subscription := await sync.current(db, about.tenant):
        changed = EntitlementsChanged(
            tenant_id=about.tenant, plan_code=subscription.plan_code, status=subscription.status
        )
        await publish(db, changed, tenant_id=about.tenant)
