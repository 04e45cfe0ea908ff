"""The items of subscriptions: which prices, how many, for which period."""

from sandbox.stripe.errors import StripeError, missing_param, not_supported
from sandbox.stripe.lines import is_metered
from sandbox.stripe.objects import Params, StripeObject, embedded_list, merge_metadata, new_id, new_object
from sandbox.stripe.prices import get_usable_price
from sandbox.stripe.store import Store

_MAX_ITEMS = 20


_NEW_ITEM: StripeObject = {
    "object": "subscription_item",
    "billed_until": None,
    "billing_thresholds": None,
    "discounts": [],
    "quantity": None,
    "tax_rates": [],
}


def build_item(
    store: Store, subscription_id: str, params: Params, position: int, period: tuple[int, int]
) -> StripeObject:
    """Return a new item."""
    if "price" not in params:
        raise missing_param(f"items[{position}][price]")
    price = get_usable_price(store, params["price"], f"items[{position}][price]")
    start, end = period
    item: StripeObject = new_object(
        _NEW_ITEM,
        id=new_id("si", 14),
        created=store.now(),
        current_period_end=end,
        current_period_start=start,
        metadata=merge_metadata({}, params.get("metadata", {})),
        plan=_plan(price),
        price=price,
        subscription=subscription_id,
    )
    set_quantity(item, params, position)
    return item


def set_quantity(item: StripeObject, params: Params, position: int) -> None:
    """Set an item's quantity, which metered items do not have."""
    param = f"items[{position}][quantity]"
    if is_metered(item):
        if "quantity" in params:
            raise StripeError("You cannot set the quantity for metered plans.", param=param)
        item["quantity"] = None
        return
    current = item["quantity"]
    item["quantity"] = params.get("quantity", 1 if current is None else current)
    if item["quantity"] < 0:
        raise StripeError("Invalid non-negative integer", "parameter_invalid_integer", param)


def set_price(store: Store, item: StripeObject, price_id: str, position: int) -> None:
    """Change the price of an item."""
    price = get_usable_price(store, price_id, f"items[{position}][price]")
    item |= {"price": price, "plan": _plan(price)}


def _plan(price: StripeObject) -> StripeObject:
    """Return the price in the shape of its predecessor, which Stripe still sends along."""
    return {
        "id": price["id"],
        "object": "plan",
        "active": price["active"],
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": price["billing_scheme"],
        "created": price["created"],
        "currency": price["currency"],
        "interval": price["recurring"]["interval"],
        "interval_count": price["recurring"]["interval_count"],
        "livemode": False,
        "metadata": price["metadata"],
        "meter": price["recurring"]["meter"],
        "nickname": price["nickname"],
        "product": price["product"],
        "tiers_mode": price["tiers_mode"],
        "transform_usage": None,
        "trial_period_days": None,
        "usage_type": price["recurring"]["usage_type"],
    }


def check_items(items: list[StripeObject]) -> None:
    """Refuse combinations that cannot be billed together."""
    if not 1 <= len(items) <= _MAX_ITEMS:
        raise StripeError(f"A subscription has 1 to {_MAX_ITEMS} items.", param="items")
    prices = [item["price"]["id"] for item in items]
    for price in prices:
        if prices.count(price) > 1:
            message = f"Cannot add multiple subscription items with the same plan: {price}"
            raise StripeError(message, param="items")
    if len({item["price"]["currency"] for item in items}) > 1:
        raise StripeError("All prices of a subscription must have the same currency.", param="items")
    intervals = {interval_of(item) for item in items}
    if len(intervals) > 1:
        raise not_supported("subscriptions with prices of several intervals", "items")


def interval_of(item: StripeObject) -> tuple[str, int]:
    """Return how often an item is billed."""
    recurring = item["price"]["recurring"]
    return recurring["interval"], recurring["interval_count"]


def items_list(subscription_id: str, items: list[StripeObject]) -> StripeObject:
    """Return items as the list inside their subscription."""
    return embedded_list(f"/v1/subscription_items?subscription={subscription_id}", items)
