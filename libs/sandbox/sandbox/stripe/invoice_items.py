"""Invoice items: what waits for a customer's next invoice, such as prorations."""

from sandbox.stripe.errors import StripeError, missing_param
from sandbox.stripe.lines import base_line
from sandbox.stripe.lists import in_range, matches, page
from sandbox.stripe.objects import Params, StripeObject, merge_metadata, new_id, new_object
from sandbox.stripe.operations import Operation
from sandbox.stripe.store import Store


def add_pending(store: Store, customer_id: str, lines: list[StripeObject], subscription_id: str) -> None:
    """Store lines for the next invoice of a subscription."""
    for line in lines:
        item = _item(store, customer_id, line["currency"], line["amount"]) | {
            "_line": line,
            "description": line["description"],
            "period": line["period"],
            "pricing": line["pricing"],
            "proration": line["parent"]["subscription_item_details"]["proration"],
            "quantity": line["quantity"],
            "quantity_decimal": line["quantity_decimal"],
        }
        item["parent"] = {
            "subscription_details": {
                "subscription": subscription_id,
                "subscription_item": line["parent"]["subscription_item_details"]["subscription_item"],
            },
            "type": "subscription_details",
        }
        store.insert(item, "invoiceitem.created")


_NEW_ITEM: StripeObject = {
    "object": "invoiceitem",
    "description": None,
    "discountable": True,
    "discounts": [],
    "invoice": None,
    "livemode": False,
    "metadata": {},
    "parent": None,
    "pricing": None,
    "proration": False,
    "quantity": 1,
    "quantity_decimal": "1",
    "tax_rates": [],
    "test_clock": None,
}


def _item(store: Store, customer_id: str, currency: str, amount: int) -> StripeObject:
    now = store.now()
    return new_object(
        _NEW_ITEM,
        id=new_id("ii"),
        amount=amount,
        currency=currency,
        customer=customer_id,
        date=now,
        net_amount=amount,
        period={"end": now, "start": now},
    )


def pending_items(store: Store, customer_id: str, subscription_id: str | None) -> list[StripeObject]:
    """Return what waits for an invoice of this subscription, or for the customer's next one of any kind."""
    return [
        item
        for item in store.where("invoiceitem", customer=customer_id, invoice=None)
        if _subscription_of(item) in {None, subscription_id}
    ]


def _subscription_of(item: StripeObject) -> str | None:
    details: StripeObject = (item["parent"] or {}).get("subscription_details", {})
    return details.get("subscription")


def line_of(item: StripeObject) -> StripeObject:
    """Return the invoice's line for an item."""
    if pending := item.get("_line"):
        return _pending_line(item, pending)
    line = base_line(item["currency"], item["amount"], item["period"]["start"], item["period"]["end"])
    details = {
        "invoice_item": item["id"],
        "proration": False,
        "proration_details": {"credited_items": None},
        "subscription": _subscription_of(item),
    }
    return line | {
        "description": item["description"],
        "metadata": item["metadata"],
        "parent": {
            "invoice_item_details": details,
            "subscription_item_details": None,
            "type": "invoice_item_details",
        },
        "subscription": _subscription_of(item),
    }


def _pending_line(item: StripeObject, line: StripeObject) -> StripeObject:
    """Return the line that an item was made of, with the item's id."""
    details = line["parent"]["subscription_item_details"] | {"invoice_item": item["id"]}
    parent = line["parent"] | {"subscription_item_details": details}
    return {**line, "id": new_id("il"), "parent": parent}


def create_invoice_item(store: Store, params: Params) -> StripeObject:
    """Add an amount, which may be negative, to the next invoice."""
    for name in ("customer", "currency", "amount"):
        if name not in params:
            raise missing_param(name)
    customer = store.get("customer", params["customer"], "customer")
    item = _item(store, customer["id"], params["currency"].lower(), params["amount"])
    item["description"] = params.get("description")
    item["metadata"] = merge_metadata({}, params.get("metadata", {}))
    item["period"] = params.get("period", item["period"])
    if "subscription" in params:
        subscription = store.get("subscription", params["subscription"], "subscription")
        details = {"subscription": subscription["id"], "subscription_item": None}
        item["parent"] = {"subscription_details": details, "type": "subscription_details"}
    return store.insert(item, "invoiceitem.created")


def retrieve_invoice_item(store: Store, _: Params, item_id: str) -> StripeObject:
    """Return an invoice item."""
    return store.get("invoiceitem", item_id, in_path=True)


def delete_invoice_item(store: Store, _: Params, item_id: str) -> StripeObject:
    """Delete an item that is on no invoice."""
    item = store.get("invoiceitem", item_id, in_path=True)
    if item["invoice"]:
        raise StripeError("An invoice item that is on an invoice cannot be deleted.", "invoice_not_editable")
    del store.table("invoiceitem")[item_id]
    store.emit("invoiceitem.deleted", item)
    return {"id": item_id, "object": "invoiceitem", "deleted": True}


def list_invoice_items(store: Store, params: Params) -> StripeObject:
    """List invoice items, also those that are pending."""
    items = [
        item
        for item in store.table("invoiceitem").values()
        if matches(item, params, "customer", "invoice")
        and in_range(item["date"], params.get("created"))
        and params.get("pending", item["invoice"] is None) == (item["invoice"] is None)
    ]
    return page(items, params, "/v1/invoiceitems")


OPERATIONS = [
    Operation(
        "POST",
        "/v1/invoiceitems",
        create_invoice_item,
        "invoice_item_create",
        "amount currency customer description period subscription",
    ),
    Operation("GET", "/v1/invoiceitems", list_invoice_items, "invoice_item_list"),
    Operation("GET", "/v1/invoiceitems/{id}", retrieve_invoice_item, "invoice_item_retrieve"),
    Operation("DELETE", "/v1/invoiceitems/{id}", delete_invoice_item, "invoice_item_delete"),
]
