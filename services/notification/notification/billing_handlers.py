"""Reactions to billing's events: which email to the tenant an event is the reason for."""

from datetime import timedelta
from typing import Any

from servicekit.events.outbox import ReceivedEvent
from servicekit.events.relay import Handler
from sqlalchemy.ext.asyncio import AsyncSession

from notification import notices
from notification.billing_events import (
    FEATURES,
    AccessChanged,
    InvoiceEvent,
    InvoicePaymentActionRequired,
    InvoicePaymentFailed,
    SubscriptionChanged,
    TenantEvent,
    TrialEnding,
    UsageThresholdReached,
    format_amount,
)
from notification.events import format_time

# What could not be sent by then is no news any more.
NOTICE_TTL = timedelta(days=2)
# Not 50: half of a limit is nothing to act on, and every tenant that uses its plan well gets there.
MAILED_PERCENTAGES = (80, 90, 100)
# The first step of a payment that is due has its email already: the one about the failed payment.
TEMPLATE_OF_REASON = {
    "payment_overdue": "payment_overdue",
    "unpaid": "subscription_unpaid",
    "trial_ended": "trial_ended",
    "trial_paused": "trial_paused",
    "ended": "subscription_ended",
}


async def notify_trial_ending(db: AsyncSession, received: ReceivedEvent) -> None:
    """Notify a tenant that its trial is about to end."""
    event = TrialEnding.model_validate(received.data)
    await enqueue(db, received, event, "trial_ending", ends_at=format_time(event.trial_end))


async def notify_payment_failed(db: AsyncSession, received: ReceivedEvent) -> None:
    """Notify a tenant of a failed payment: when it is tried again, and when access is restricted."""
    event = InvoicePaymentFailed.model_validate(received.data)
    facts = describe_invoice(event)
    if event.next_payment_attempt:
        facts["next_attempt"] = format_time(event.next_payment_attempt)
    if event.read_only_at and event.read_only_at > received.time:
        facts["read_only_at"] = format_time(event.read_only_at)
    await enqueue(db, received, event, "payment_failed", **facts)


async def notify_payment_action_required(db: AsyncSession, received: ReceivedEvent) -> None:
    """Notify a tenant of a payment that it has to confirm, with a link to the page of the invoice."""
    event = InvoicePaymentActionRequired.model_validate(received.data)
    facts = {**describe_invoice(event), "invoice_url": event.hosted_invoice_url}
    await enqueue(db, received, event, "payment_action_required", **facts)


async def notify_access_changed(db: AsyncSession, received: ReceivedEvent) -> None:
    """Notify a tenant of an access that is restricted, or has ended."""
    event = AccessChanged.model_validate(received.data)
    if template := TEMPLATE_OF_REASON.get(event.reason):
        await enqueue(db, received, event, template)


async def notify_cancellation(db: AsyncSession, received: ReceivedEvent) -> None:
    """Notify a tenant that its subscription ends with its period; once for each period."""
    event = SubscriptionChanged.model_validate(received.data)
    if not event.cancel_at_period_end or event.current_period_end is None or event.status == "canceled":
        return
    ends_at = event.current_period_end
    key = f"cancellation:{event.subscription_id}:{ends_at.timestamp():.0f}"
    ends_text = format_time(ends_at)
    await enqueue(db, received, event, "subscription_canceled", dedupe_key=key, ends_at=ends_text)


async def notify_threshold(db: AsyncSession, received: ReceivedEvent) -> None:
    """Notify a tenant of a limit that is nearly reached, or reached.

    Usage that jumps over several thresholds publishes an event for each; only the highest is mailed. Budgets
    of one user, key or agent are for the frontend: the event does not say whose they are.
    """
    event = UsageThresholdReached.model_validate(received.data)
    reached = [percent for percent in MAILED_PERCENTAGES if event.used * 100 >= event.limit * percent]
    if event.scope != "tenant" or event.feature not in FEATURES or event.percent != max(reached, default=0):
        return
    template = "usage_limit_reached" if event.percent == max(MAILED_PERCENTAGES) else "usage_warning"
    facts: dict[str, Any] = {
        "percent": str(event.percent),
        "feature": FEATURES[event.feature],
        "resets_at": format_time(event.resets_at),
        "is_hard": event.kind == "hard",
    }
    await enqueue(db, received, event, template, **facts)


def describe_invoice(event: InvoiceEvent) -> dict[str, Any]:
    """Return what an email says of an invoice."""
    return {"invoice": event.number, "amount": format_amount(event.amount_due, event.currency)}


async def enqueue(
    db: AsyncSession,
    received: ReceivedEvent,
    event: TenantEvent,
    template: str,
    *,
    dedupe_key: str | None = None,
    **facts: Any,
) -> None:
    """Enqueue an email to the tenant of an event."""
    await notices.enqueue(
        db,
        dedupe_key=dedupe_key or str(received.id),
        tenant_id=event.tenant_id,
        template=template,
        payload={"at": format_time(received.time), **facts},
        expires_at=received.time + NOTICE_TTL,
    )


BILLING_HANDLERS: dict[str, Handler] = {
    "billing.trial.ending.v1": notify_trial_ending,
    "billing.invoice.payment_failed.v1": notify_payment_failed,
    "billing.invoice.payment_action_required.v1": notify_payment_action_required,
    "billing.access.changed.v1": notify_access_changed,
    "billing.subscription.changed.v1": notify_cancellation,
    "billing.usage.threshold_reached.v1": notify_threshold,
}
