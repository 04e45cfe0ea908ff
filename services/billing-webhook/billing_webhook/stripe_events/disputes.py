"""Records disputes and refunds, and publishes them."""

import stripe
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook.billing_events.publish import publish
from billing_webhook.events import PaymentDisputed, PaymentRefunded
from billing_webhook.stripe_events.handling import Handling, change_state


async def apply(db: AsyncSession, about: Handling) -> None:
    """Publish the state of a dispute, or how much of a charge was returned, once each."""
    match about.fetched:
        case stripe.Dispute() as dispute:
            await apply_dispute(db, about, dispute)
        case stripe.Charge() as charge:
            await apply_charge(db, about, charge)


async def apply_dispute(db: AsyncSession, about: Handling, dispute: stripe.Dispute) -> None:
    """Publish the state of a dispute if it is new."""
    if not await change_state(db, about, dispute.status):
        return
    disputed = PaymentDisputed(
        tenant_id=about.tenant,
        dispute_id=dispute.id,
        status=dispute.status,
        reason=dispute.reason,
        amount=dispute.amount,
        currency=dispute.currency,
    )
    await publish(db, disputed, tenant_id=about.tenant)


async def apply_charge(db: AsyncSession, about: Handling, charge: stripe.Charge) -> None:
    """Publish how much of a charge was returned, if that has changed."""
    if not charge.amount_refunded or not await change_state(db, about, str(charge.amount_refunded)):
        return
    refunded = PaymentRefunded(
        tenant_id=about.tenant,
        charge_id=charge.id,
        amount=charge.amount,
        amount_refunded=charge.amount_refunded,
        currency=charge.currency,
    )
    await publish(db, refunded, tenant_id=about.tenant)
