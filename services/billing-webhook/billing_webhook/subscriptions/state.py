"""Stripe's objects, read into the columns of our rows."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import stripe

from billing_webhook.plans.catalog import Plan, catalog

ENDED = frozenset({"canceled", "incomplete_expired"})


class PlanOfPriceNotFound(ValueError):
    """No plan has one of the subscription's prices."""


def at(timestamp: int | None) -> datetime | None:
    """Return Stripe's time as ours."""
    return None if timestamp is None else datetime.fromtimestamp(timestamp, UTC)


def plan_of(subscription: stripe.Subscription, price_map: Mapping[str, str]) -> tuple[Plan, Any]:
    """Return a subscription's plan, and the item that is billed for it; raises PlanOfPriceNotFound.

    A price is known by its id in STRIPE_PRODUCT_PRICE_MAP, by its lookup key, or by what its metadata say.
    """
    by_id = {price: code for code, price in price_map.items()}
    for item in subscription.items.data:
        code = by_id.get(item.price.id) or metadata(item.price).get("plan_code")
        plan = catalog().plan_of_price(item.price.lookup_key) or catalog().find(code or "")
        if plan is not None and not is_metered(item):
            return plan, item
    raise PlanOfPriceNotFound(subscription.id)


def is_metered(item: Any) -> bool:
    """Return whether an item is billed by what a meter counts."""
    recurring = item.price.recurring
    return recurring is not None and recurring.usage_type == "metered"


def metadata(thing: Any) -> dict[str, str]:
    """Return the metadata of an object, which may have none."""
    found = getattr(thing, "metadata", None)
    return dict(found.to_dict()) if found is not None else {}


def subscription_values(subscription: stripe.Subscription, price_map: Mapping[str, str]) -> dict[str, Any]:
    """Return the columns of a subscription; raises PlanOfPriceNotFound."""
    plan, base = plan_of(subscription, price_map)
    pause = subscription.pause_collection
    ended_at = at(subscription.ended_at)
    return {
        "plan_code": plan.code,
        "status": subscription.status,
        "seats": base.quantity or 1,
        "items": [item_values(item) for item in subscription.items.data],
        "current_period_start": at(base.current_period_start),
        "current_period_end": at(base.current_period_end),
        "trial_end": at(subscription.trial_end),
        "cancel_at_period_end": subscription.cancel_at_period_end,
        "cancel_at": at(subscription.cancel_at),
        "pause_behavior": pause.behavior if pause else None,
        "pause_resumes_at": at(pause.resumes_at) if pause else None,
        "ended_at": (ended_at or datetime.now(UTC)) if subscription.status in ENDED else None,
    }


def item_values(item: Any) -> dict[str, Any]:
    """Return what is kept of an item."""
    return {
        "id": item.id,
        "price": item.price.id,
        "lookup_key": item.price.lookup_key,
        "metered": is_metered(item),
        "quantity": getattr(item, "quantity", None),
        "current_period_start": item.current_period_start,
        "current_period_end": item.current_period_end,
    }


def invoice_values(invoice: stripe.Invoice) -> dict[str, Any]:
    """Return the columns of an invoice."""
    return {
        "stripe_subscription_id": subscription_of(invoice),
        "number": invoice.number,
        "status": invoice.status or "draft",
        "currency": invoice.currency,
        "total": invoice.total,
        "amount_due": invoice.amount_due,
        "amount_paid": invoice.amount_paid,
        "amount_remaining": invoice.amount_remaining,
        "attempt_count": invoice.attempt_count,
        "next_payment_attempt": at(invoice.next_payment_attempt),
        "hosted_invoice_url": invoice.hosted_invoice_url,
        "invoice_pdf": invoice.invoice_pdf,
        "period_start": at(invoice.period_start),
        "period_end": at(invoice.period_end),
        "created_at": at(invoice.created),
    }


def requires_action(invoice: stripe.Invoice) -> bool:
    """Return whether a payment of an invoice waits for its payer, where Stripe was asked to expand them."""
    payments = getattr(invoice, "payments", None)
    intents = [one.payment.payment_intent for one in payments.data] if payments else []
    return any(
        intent.status == "requires_action" for intent in intents if isinstance(intent, stripe.PaymentIntent)
    )


def subscription_of(invoice: stripe.Invoice) -> str | None:
    """Return the id of the subscription that an invoice is for."""
    details = invoice.parent.subscription_details if invoice.parent else None
    return None if details is None else id_of(details.subscription)


def id_of(reference: Any) -> str:
    """Return the id of an object that may be expanded."""
    return reference if isinstance(reference, str) else str(reference.id)
