"""The prices of plans at Stripe: by STRIPE_PRODUCT_PRICE_MAP, or else by their lookup keys."""

from typing import Any

from billing_webhook.plans.catalog import Plan, catalog
from billing_webhook.services import BillingServices
from billing_webhook.subscriptions.errors import PlanNotFound, PriceNotConfigured, SeatLimitExceeded


def paid_plan(code: str) -> Plan:
    """Return a paid plan; raises PlanNotFound."""
    plan = catalog().find(code)
    if plan is None or not plan.is_paid:
        raise PlanNotFound
    return plan


def require_seats(plan: Plan, seats: int) -> None:
    """Verify that a plan has so many seats; raises SeatLimitExceeded."""
    limit = plan.limit("seats")
    if limit is not None and limit.kind == "hard" and seats > limit.limit:
        raise SeatLimitExceeded(most=int(limit.limit))


async def base_price(services: BillingServices, plan: Plan) -> str:
    """Return the id of the price for a seat; raises PriceNotConfigured."""
    return services.price_map.get(plan.code) or await by_lookup_key(services, plan.price.lookup_key)


async def metered_prices(services: BillingServices, plan: Plan) -> list[str]:
    """Return the ids of the prices for what meters count; raises PriceNotConfigured."""
    return [await by_lookup_key(services, price.lookup_key) for price in plan.metered_prices]


async def by_lookup_key(services: BillingServices, lookup_key: str) -> str:
    """Return the id of a price, which is asked for once; raises PriceNotConfigured."""
    if lookup_key not in services.price_ids:
        found = await services.stripe.v1.prices.list_async({"lookup_keys": [lookup_key], "active": True})
        if not found.data:
            raise PriceNotConfigured
        services.price_ids[lookup_key] = found.data[0].id
    return services.price_ids[lookup_key]


async def first_items(services: BillingServices, plan: Plan, seats: int) -> list[dict[str, Any]]:
    """Return the items of a new subscription."""
    base = {"price": await base_price(services, plan), "quantity": seats}
    return [base, *({"price": price} for price in await metered_prices(services, plan))]


async def changed_items(
    services: BillingServices, items: list[dict[str, Any]], plan: Plan, seats: int
) -> list[dict[str, Any]]:
    """Return the items that turn a subscription with these into one of a plan and so many seats."""
    [base] = [item for item in items if not item["metered"]][:1]
    metered = {item["price"]: item["id"] for item in items if item["metered"]}
    expected = await metered_prices(services, plan)
    return [
        {"id": base["id"], "price": await base_price(services, plan), "quantity": seats},
        *({"price": price} for price in expected if price not in metered),
        *({"id": item, "deleted": True} for price, item in metered.items() if price not in expected),
    ]
