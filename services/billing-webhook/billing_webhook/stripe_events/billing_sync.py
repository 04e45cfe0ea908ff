"""Applies subscriptions, invoices and customers as Stripe has them."""

import stripe
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook.billing_events.publish import publish
from billing_webhook.events import InvoicePaymentActionRequired, TrialEnding
from billing_webhook.models import Invoice
from billing_webhook.stripe_events.handling import Handling, change_state
from billing_webhook.subscriptions import sync
from billing_webhook.subscriptions.state import at

TRIAL_WILL_END = "customer.subscription.trial_will_end"
ACTION_REQUIRED = "invoice.payment_action_required"


async def apply(db: AsyncSession, about: Handling) -> None:
    """Apply the object of an event."""
    match about.fetched:
        case stripe.Subscription() as subscription:
            await apply_subscription(db, about, subscription)
        case stripe.Invoice() as invoice:
            await apply_invoice(db, about, invoice)
        case stripe.Customer() as customer if not getattr(customer, "deleted", False):
            await sync.apply_customer(db, about.tenant, customer)
        case None | stripe.Customer():
            await apply_deleted(db, about)


async def apply_subscription(db: AsyncSession, about: Handling, subscription: stripe.Subscription) -> None:
    """Apply a subscription, and publish once that its trial is about to end."""
    await sync.apply_subscription(
        db, about.tenant, subscription, price_map=about.price_map, fetched_at=about.fetched_at
    )
    if about.event.type.removeprefix("v1.") != TRIAL_WILL_END or not subscription.trial_end:
        return
    if await change_state(db, about, str(subscription.trial_end), f"{subscription.id}/trial"):
        ending = TrialEnding(
            tenant_id=about.tenant,
            stripe_subscription_id=subscription.id,
            trial_end=at(subscription.trial_end),
        )
        await publish(db, ending, tenant_id=about.tenant)


async def apply_invoice(db: AsyncSession, about: Handling, invoice: stripe.Invoice) -> None:
    """Apply an invoice, and publish once for each attempt that its payer has to act."""
    await sync.apply_invoice(db, about.tenant, invoice)
    if about.event.type.removeprefix("v1.") != ACTION_REQUIRED or invoice.status != "open":
        return
    if await change_state(db, about, str(invoice.attempt_count), f"{invoice.id}/action"):
        fact = sync.invoice_fact(await db.get_one(Invoice, invoice.id))
        await publish(db, InvoicePaymentActionRequired(**fact), tenant_id=about.tenant)


async def apply_deleted(db: AsyncSession, about: Handling) -> None:
    """Apply that Stripe does not have a subscription or customer any more."""
    subject = about.event.subject
    if subject.kind == "subscription" and subject.id:
        await sync.apply_subscription_deleted(db, about.tenant, subject.id)
    elif subject.kind == "customer" and subject.id:
        await sync.apply_customer_deleted(db, subject.id)
