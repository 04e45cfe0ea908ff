"""What is bought at checkout."""

from decimal import Decimal

from sandbox.stripe.amounts import price_of, to_minor_units
from sandbox.stripe.errors import StripeError, missing_param
from sandbox.stripe.objects import Params, StripeObject, new_id
from sandbox.stripe.prices import get_usable_price
from sandbox.stripe.store import Store


def line_items(store: Store, params: Params) -> list[StripeObject]:
    """Return the items of a checkout session."""
    if not params.get("line_items"):
        raise missing_param("line_items")
    return [_line_item(store, item, place) for place, item in enumerate(params["line_items"])]


def _price(store: Store, params: Params, place: int) -> StripeObject:
    if "price" not in params:
        raise missing_param(f"line_items[{place}][price]")
    price = get_usable_price(store, params["price"], f"line_items[{place}][price]")
    is_metered = price["recurring"]["usage_type"] == "metered"
    if is_metered == ("quantity" in params):
        message = "A quantity is required, except for metered prices, which have none."
        raise StripeError(message, "parameter_missing", f"line_items[{place}][quantity]")
    return price


def _line_item(store: Store, params: Params, place: int) -> StripeObject:
    price = _price(store, params, place)
    amount = to_minor_units(price_of(price, Decimal(params["quantity"]))) if "quantity" in params else 0
    return {
        "id": new_id("li"),
        "object": "item",
        "amount_discount": 0,
        "amount_subtotal": amount,
        "amount_tax": 0,
        "amount_total": amount,
        "currency": price["currency"],
        "description": store.table("product")[price["product"]]["name"],
        "metadata": {},
        "price": price,
        "quantity": params.get("quantity"),
    }
