"""The lines of invoices: licensed items in advance, metered items in arrears, prorations, invoice items."""

from decimal import Decimal
from typing import Any

from sandbox.stripe.amounts import price_of, prorated, to_minor_units
from sandbox.stripe.meter_usage import usage_total
from sandbox.stripe.objects import StripeObject, new_id, new_object
from sandbox.stripe.store import Store

_TIMES = "×"  # noqa: RUF001 as on Stripe's invoices

_SUBSCRIPTION_ITEM_DETAILS: StripeObject = {
    "invoice_item": None,
    "proration_details": {"credited_items": None},
}


def line(item: StripeObject, amount: int, start: int, end: int, **members: Any) -> StripeObject:
    """Return a line for a subscription's item; `members` replace what is not as usual."""
    price = item["price"]
    details = new_object(
        _SUBSCRIPTION_ITEM_DETAILS,
        proration=members.pop("proration", False),
        subscription=item["subscription"],
        subscription_item=item["id"],
    )
    quantity = members.pop("quantity", item.get("quantity"))
    return base_line(price["currency"], amount, start, end) | {
        "description": members.pop("description", None),
        "discountable": not details["proration"],
        "parent": {
            "invoice_item_details": None,
            "subscription_item_details": details,
            "type": "subscription_item_details",
        },
        "pricing": _pricing(price),
        "quantity": None if quantity is None else int(quantity),
        "quantity_decimal": None if quantity is None else f"{Decimal(quantity).normalize():f}",
        "subscription": item["subscription"],
    }


def _pricing(price: StripeObject) -> StripeObject:
    return {
        "price_details": {"price": price["id"], "product": price["product"]},
        "type": "price_details",
        "unit_amount_decimal": price["unit_amount_decimal"],
    }


_NEW_LINE: StripeObject = {
    "object": "line_item",
    "description": None,
    "discount_amounts": [],
    "discountable": True,
    "discounts": [],
    "invoice": None,
    "livemode": False,
    "metadata": {},
    "parent": None,
    "pretax_credit_amounts": [],
    "pricing": None,
    "quantity": 1,
    "quantity_decimal": "1",
    "subscription": None,
    "taxes": [],
}


def base_line(currency: str, amount: int, start: int, end: int) -> StripeObject:
    """Return what all lines have."""
    return new_object(
        _NEW_LINE,
        id=new_id("il"),
        amount=amount,
        currency=currency,
        period={"end": end, "start": start},
        subtotal=amount,
    )


def is_metered(item: StripeObject) -> bool:
    """Whether an item is paid for by its usage."""
    return bool(item["price"]["recurring"]["usage_type"] == "metered")


def advance_line(
    store: Store, item: StripeObject, start: int, end: int, *, trial: bool = False
) -> StripeObject:
    """Return the line for a licensed item's coming period."""
    name = product_name(store, item)
    if trial:
        return line(item, 0, start, end, description=f"Free trial for {item['quantity']} {_TIMES} {name}")
    amount = to_minor_units(price_of(item["price"], Decimal(item["quantity"])))
    return line(item, amount, start, end, description=f"{item['quantity']} {_TIMES} {name}")


def part_line(store: Store, item: StripeObject, start: int, end: int, whole: int) -> StripeObject:
    """Return the line for a first period that is shorter than the others."""
    amount = prorated(item["price"], Decimal(item["quantity"]), end - start, whole)
    description = f"{item['quantity']} {_TIMES} {product_name(store, item)} (part of a period)"
    return line(item, amount, start, end, description=description, proration=True)


def usage_line(store: Store, item: StripeObject, customer: str, start: int, end: int) -> StripeObject:
    """Return the line for a metered item's past period."""
    usage = {"customer": customer, "name": product_name(store, item)}
    return refresh_usage(store, line(item, 0, start, end) | {"_usage": usage})


def refresh_usage(store: Store, draft: StripeObject) -> StripeObject:
    """Count the usage of a line anew, as events may come in until the invoice is final."""
    if (usage := draft.get("_usage")) is None:
        return draft
    price = store.table("price")[draft["pricing"]["price_details"]["price"]]
    start, end = draft["period"]["start"], draft["period"]["end"]
    total = usage_total(store, price["recurring"]["meter"], usage["customer"], start, end)
    amount = to_minor_units(price_of(price, total))
    return draft | {
        "amount": amount,
        "subtotal": amount,
        "description": f"{total.normalize():f} {_TIMES} {usage['name']} (usage)",
        "quantity": int(total),
        "quantity_decimal": f"{total.normalize():f}",
    }


def proration_lines(
    store: Store, old: StripeObject | None, new: StripeObject | None, now: int
) -> list[StripeObject]:
    """Return the credit for an item's unused time, and the charge for the rest of the period as it is now."""
    if old and new and (old["price"]["id"], old["quantity"]) == (new["price"]["id"], new["quantity"]):
        return []
    lines = []
    for item, sign, word in ((old, -1, "Unused time on"), (new, 1, "Remaining time on")):
        if item is None or is_metered(item):
            continue
        start, end = item["current_period_start"], item["current_period_end"]
        amount = sign * prorated(item["price"], Decimal(item["quantity"]), end - now, end - start)
        description = f"{word} {item['quantity']} {_TIMES} {product_name(store, item)}"
        lines.append(line(item, amount, now, end, description=description, proration=True))
    return lines


def product_name(store: Store, item: StripeObject) -> str:
    """Return the name of what is sold."""
    return str(store.table("product").get(item["price"]["product"], {}).get("name", item["price"]["product"]))
