"""Objects that tests start from."""

from typing import Any

from stripe import Customer, Price, StripeClient, StripeObject, Subscription


def a_price(stripe: StripeClient, amount: int = 1000, interval: str = "month", **params: Any) -> Price:
    product = {"name": f"Plan of {amount}"}
    request = {
        "currency": "eur",
        "unit_amount": amount,
        "recurring": {"interval": interval},
        "product_data": product,
    }
    return stripe.v1.prices.create(request | params)  # type: ignore[arg-type]


def a_customer(stripe: StripeClient, card: str | None = "pm_card_visa") -> Customer:
    if card is None:
        return stripe.v1.customers.create({"email": "ada@example.com"})
    defaults = {"default_payment_method": card}
    return stripe.v1.customers.create({"payment_method": card, "invoice_settings": defaults})  # type: ignore[typeddict-item]


def a_subscription(
    stripe: StripeClient, price: Price | None = None, card: str | None = "pm_card_visa", **params: Any
) -> Subscription:
    request = {
        "customer": a_customer(stripe, card).id,
        "items": [{"price": (price or a_price(stripe)).id}],
        "expand": ["latest_invoice"],
    }
    return stripe.v1.subscriptions.create(request | params)  # type: ignore[arg-type]


def item_of(subscription: Subscription) -> StripeObject:
    return subscription["items"].data[0]


def event_types(stripe: StripeClient, object_id: str) -> list[str]:
    """The types of the events of an object, in their order."""
    events = stripe.v1.events.list({"limit": 100}).auto_paging_iter()
    return [event.type for event in events if event.data.object.to_dict().get("id") == object_id][::-1]


def amounts(invoice: Any) -> list[int]:
    return [line.amount for line in invoice.lines.data]
