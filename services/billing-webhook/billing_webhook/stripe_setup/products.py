"""Creates at Stripe what plans.toml says, or reuses it: products, prices, meters, portal configuration.

Everything is found again by a key of ours (an id, a lookup key, an event name, metadata), so a second run
changes nothing.
"""

from dataclasses import dataclass, field
from typing import Any

import stripe
from stripe import StripeClient

from billing_webhook.plans.catalog import Meter, MeteredPrice, Plan, Price, catalog

# What is ours at Stripe says so.
OURS = {"acme": "billing"}
PORTAL_FEATURES: Any = {
    "customer_update": {"enabled": True, "allowed_updates": ["email", "address", "tax_id"]},
    "invoice_history": {"enabled": True},
    "payment_method_update": {"enabled": True},
    "subscription_cancel": {"enabled": True, "mode": "at_period_end"},
}


class StripeSetupFailed(Exception):
    """What is at Stripe contradicts plans.toml, and cannot be changed there."""


@dataclass
class Setup:
    """What was set up: the prices of plans, the secrets of new endpoints, and a line for each change."""

    price_map: dict[str, str] = field(default_factory=dict)
    webhook_secrets: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)


async def set_up(client: StripeClient) -> Setup:
    """Create what is missing at Stripe of the plans; raises StripeSetupFailed or StripeError."""
    setup = Setup()
    meters = {meter.feature: await ensure_meter(client, setup, meter) for meter in catalog().meters}
    for plan in catalog().paid_plans:
        product = await ensure_product(client, setup, plan)
        for price in plan.prices:
            setup.price_map.setdefault(plan.code, await ensure_price(client, setup, plan, product, price))
        for metered in plan.metered_prices:
            await ensure_metered_price(client, setup, product, metered, meters[metered.feature])
    await ensure_portal(client, setup)
    return setup


async def ensure_meter(client: StripeClient, setup: Setup, meter: Meter) -> str:
    """Return the id of a feature's meter."""
    existing = client.v1.billing.meters.list_async({"status": "active", "limit": 100})
    async for found in (await existing).auto_paging_iter():
        if found.event_name == meter.event_name:
            return found.id
    created = await client.v1.billing.meters.create_async(
        {
            "display_name": meter.event_name,
            "event_name": meter.event_name,
            "default_aggregation": {"formula": meter.aggregation},
            "customer_mapping": {"type": "by_id", "event_payload_key": "stripe_customer_id"},
            "value_settings": {"event_payload_key": "value"},
        }
    )
    setup.changes.append(f"meter {meter.event_name}")
    return created.id


async def ensure_product(client: StripeClient, setup: Setup, plan: Plan) -> str:
    """Return the id of a plan's product, which is made of the plan's code."""
    product_id = f"acme_{plan.code}"
    try:
        product = await client.v1.products.retrieve_async(product_id)
    except stripe.InvalidRequestError as error:
        if error.code != "resource_missing":
            raise
        metadata = {**OURS, "plan_code": plan.code}
        await client.v1.products.create_async({"id": product_id, "name": plan.name, "metadata": metadata})
        setup.changes.append(f"product {product_id}")
        return product_id
    if product.name != plan.name:
        await client.v1.products.update_async(product_id, {"name": plan.name})
        setup.changes.append(f"product {product_id}: its name")
    return product_id


async def ensure_price(client: StripeClient, setup: Setup, plan: Plan, product: str, price: Price) -> str:
    """Return the id of the price with a lookup key."""
    return await ensure(
        client,
        setup,
        {
            "product": product,
            "currency": price.currency,
            "unit_amount": price.amount,
            "recurring": {"interval": price.interval},
            "lookup_key": price.lookup_key,
            "metadata": {**OURS, "plan_code": plan.code},
        },
    )


async def ensure_metered_price(
    client: StripeClient, setup: Setup, product: str, price: MeteredPrice, meter: str
) -> str:
    """Return the id of a price for what a meter counts beyond what the plan includes."""
    amount = str(price.unit_amount)
    tiers = [{"up_to": price.included, "unit_amount": 0}, {"up_to": "inf", "unit_amount_decimal": amount}]
    tiered = {"billing_scheme": "tiered", "tiers_mode": "graduated", "tiers": tiers}
    return await ensure(
        client,
        setup,
        {
            "product": product,
            "currency": price.currency,
            "recurring": {"interval": "month", "usage_type": "metered", "meter": meter},
            "lookup_key": price.lookup_key,
            "metadata": {**OURS, "feature": price.feature},
            **(tiered if price.included else {"unit_amount_decimal": amount}),
        },
    )


async def ensure(client: StripeClient, setup: Setup, params: dict[str, Any]) -> str:
    """Return the id of the price with a lookup key, created if there is none; raises StripeSetupFailed."""
    lookup_key = params["lookup_key"]
    found = await client.v1.prices.list_async({"lookup_keys": [lookup_key], "active": True})
    if not found.data:
        expected: Any = {**params, "transfer_lookup_key": True}
        created = await client.v1.prices.create_async(expected)
        setup.changes.append(f"price {lookup_key}")
        return created.id
    price = found.data[0]
    for name in ("product", "currency", "unit_amount"):
        if name in params and getattr(price, name) != params[name]:
            raise StripeSetupFailed(
                f"The price {lookup_key} has another {name} at Stripe than in plans.toml. "
                "Prices do not change: give the new one another lookup_key."
            )
    return price.id


async def ensure_portal(client: StripeClient, setup: Setup) -> None:
    """Configure the customer portal: addresses, cards, invoices, cancellation; plans change here alone."""
    configurations = client.v1.billing_portal.configurations
    existing = await configurations.list_async({"active": True, "limit": 100})
    async for found in existing.auto_paging_iter():
        if has_tags(found, OURS):
            if not is_within(PORTAL_FEATURES, found.features.to_dict()):
                await configurations.update_async(found.id, {"features": PORTAL_FEATURES})
                setup.changes.append("portal configuration: its features")
            return
    await configurations.create_async({"features": PORTAL_FEATURES, "metadata": OURS})
    setup.changes.append("portal configuration")


def has_tags(thing: Any, tags: dict[str, str]) -> bool:
    """Return whether an object's metadata have these entries."""
    metadata = thing.metadata.to_dict() if thing.metadata else {}
    return tags.items() <= metadata.items()


def is_within(expected: Any, found: Any) -> bool:
    """Return whether everything that is expected is there; what is there besides does not matter."""
    if isinstance(expected, dict):
        return isinstance(found, dict) and all(
            is_within(value, found.get(name)) for name, value in expected.items()
        )
    if isinstance(expected, list):
        return isinstance(found, list) and sorted(expected) == sorted(found)
    return bool(expected == found)
