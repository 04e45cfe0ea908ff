"""Objects as Stripe's API of the pinned version has them."""

import time
from typing import Any

import stripe

NOW = int(time.time())
MONTH = 30 * 86400
LOOKUP_KEYS = {"starter": "acme_starter_month_eur_1900", "pro": "acme_pro_month_eur_4900"}


def an_item(plan: str = "starter", *, quantity: int = 1, start: int = NOW, **price: Any) -> dict[str, Any]:
    return {
        "id": f"si_{plan}",
        "object": "subscription_item",
        "current_period_start": start,
        "current_period_end": start + MONTH,
        "metadata": {},
        "price": {
            "id": f"price_{plan}",
            "object": "price",
            "lookup_key": LOOKUP_KEYS.get(plan),
            "metadata": {},
            "recurring": {"interval": "month", "interval_count": 1, "meter": None, "usage_type": "licensed"},
            **price,
        },
        "quantity": quantity,
        "subscription": "sub_1",
    }


def a_subscription(plan: str = "starter", **changes: Any) -> stripe.Subscription:
    items = changes.pop("items", None) or [an_item(plan, quantity=changes.pop("quantity", 1))]
    return stripe.Subscription.construct_from(
        {
            "id": "sub_1",
            "object": "subscription",
            "cancel_at": None,
            "cancel_at_period_end": False,
            "canceled_at": None,
            "created": NOW,
            "customer": "cus_1",
            "ended_at": None,
            "items": {"object": "list", "data": items, "has_more": False, "url": "/v1/subscription_items"},
            "latest_invoice": "in_1",
            "livemode": False,
            "metadata": {},
            "pause_collection": None,
            "status": "active",
            "trial_end": None,
            **changes,
        },
        "sk_test",
    )


def an_invoice(**changes: Any) -> stripe.Invoice:
    return stripe.Invoice.construct_from(
        {
            "id": "in_1",
            "object": "invoice",
            "amount_due": 1900,
            "amount_paid": 0,
            "amount_remaining": 1900,
            "attempt_count": 0,
            "created": NOW,
            "currency": "eur",
            "hosted_invoice_url": "https://invoice.example/in_1",
            "invoice_pdf": "https://invoice.example/in_1.pdf",
            "next_payment_attempt": None,
            "number": "ACME-0001",
            "parent": {
                "type": "subscription_details",
                "subscription_details": {"subscription": "sub_1", "metadata": {}},
                "quote_details": None,
            },
            "period_end": NOW,
            "period_start": NOW - MONTH,
            "status": "open",
            "total": 1900,
            **changes,
        },
        "sk_test",
    )
