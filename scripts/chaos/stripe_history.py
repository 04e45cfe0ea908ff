"""A Stripe with a history: subscriptions that were changed many times, and the events of it."""

import random
from typing import Any
from uuid import UUID, uuid4

from billing_webhook.plans.catalog import catalog
from stripe import StripeClient

EVENTS_PER_SUBSCRIPTION = 50
PLAN = "starter"
MAX_SEATS = 100
PAGE = 100


def make_history(client: StripeClient, events: int) -> list[dict[str, Any]]:
    """Start and change subscriptions until there are so many events, and return all of them."""
    price = make_price(client)
    number = max(1, events // EVENTS_PER_SUBSCRIPTION)
    subscriptions = [start(client, price, uuid4()) for _ in range(number)]
    while len(history := list_events(client)) < events:
        changes = max(1, (events - len(history)) // 2)
        for _ in range(changes):
            change_seats(client, random.choice(subscriptions))  # noqa: S311  # no secret
    return history


def make_price(client: StripeClient) -> str:
    """Create the price of a plan."""
    plan = catalog().find(PLAN)
    assert plan is not None  # noqa: S101  # plans.toml has it
    price = plan.prices[0]
    created = client.v1.prices.create(
        {
            "currency": price.currency,
            "unit_amount": price.amount,
            "lookup_key": price.lookup_key,
            "recurring": {"interval": "month"},
            "product_data": {"name": plan.name},
        }
    )
    return created.id


def start(client: StripeClient, price: str, tenant_id: UUID) -> Any:
    """Start a tenant's subscription, paid by a card."""
    card = "pm_card_visa"
    customer = client.v1.customers.create(
        {"payment_method": card, "invoice_settings": {"default_payment_method": card}}
    )
    return client.v1.subscriptions.create(
        {
            "customer": customer.id,
            "items": [{"price": price, "quantity": 1}],
            "metadata": {"tenant_id": str(tenant_id)},
        }
    )


def change_seats(client: StripeClient, subscription: Any) -> None:
    """Change the number of seats of a subscription."""
    item = subscription["items"].data[0]
    quantity = random.randint(1, MAX_SEATS)  # noqa: S311  # no secret
    client.v1.subscriptions.update(
        subscription.id,
        {"items": [{"id": item.id, "quantity": quantity}], "proration_behavior": "none"},
    )


def list_events(client: StripeClient) -> list[dict[str, Any]]:
    """Return all events."""
    listed = client.v1.events.list({"limit": PAGE}).auto_paging_iter()
    return [event.to_dict() for event in listed]
