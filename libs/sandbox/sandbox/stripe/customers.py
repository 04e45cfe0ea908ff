"""Customers."""

from sandbox.stripe.lists import in_range, matches, page
from sandbox.stripe.objects import (
    Params,
    StripeObject,
    assign,
    embedded_list,
    new_id,
    new_object,
)
from sandbox.stripe.operations import Operation
from sandbox.stripe.payment_methods import attach, detach_all, get_attached
from sandbox.stripe.store import Store
from sandbox.stripe.subscription_status import ENDED, end_subscription

_MEMBERS = ("address", "description", "email", "name", "phone", "shipping", "tax_exempt", "preferred_locales")
_SUPPORTED = " ".join((*_MEMBERS, "payment_method", "invoice_settings.default_payment_method"))
_LIVING = {"active", "trialing", "past_due", "unpaid", "incomplete", "paused"}


_NEW_CUSTOMER: StripeObject = {
    "object": "customer",
    "address": None,
    "balance": 0,
    "currency": None,
    "default_source": None,
    "delinquent": False,
    "description": None,
    "discount": None,
    "email": None,
    "invoice_settings": {
        "custom_fields": None,
        "default_payment_method": None,
        "footer": None,
        "rendering_options": None,
    },
    "livemode": False,
    "metadata": {},
    "name": None,
    "next_invoice_sequence": 1,
    "phone": None,
    "preferred_locales": [],
    "shipping": None,
    "tax_exempt": "none",
    "test_clock": None,
}


def create_customer(store: Store, params: Params) -> StripeObject:
    """Create a customer."""
    customer = new_object(
        _NEW_CUSTOMER,
        id=new_id("cus", 14),
        created=store.now(),
        invoice_prefix=new_id("x", 8)[2:].upper(),
    )
    assign(customer, params, *_MEMBERS)
    if "payment_method" in params:
        attach(store, params["payment_method"], customer, "payment_method")
    _set_default(store, customer, params)
    return store.insert(customer, "customer.created")


def _set_default(store: Store, customer: StripeObject, params: Params) -> None:
    settings = params.get("invoice_settings", {})
    if "default_payment_method" in settings:
        method_id = settings["default_payment_method"]
        method = method_id and get_attached(
            store, method_id, customer["id"], "invoice_settings[default_payment_method]"
        )
        customer["invoice_settings"]["default_payment_method"] = method["id"] if method else None


def update_customer(store: Store, params: Params, customer_id: str) -> StripeObject:
    """Change a customer."""
    customer = store.get("customer", customer_id, in_path=True)
    with store.updating(customer, "customer.updated"):
        _set_default(store, customer, params)
        assign(customer, params, *_MEMBERS)
    return customer


def retrieve_customer(store: Store, _: Params, customer_id: str) -> StripeObject:
    """Return a customer, or that it was deleted."""
    stored = store.table("customer").get(customer_id, {})
    if stored.get("deleted"):
        return stored
    return store.get("customer", customer_id, in_path=True)


def list_customers(store: Store, params: Params) -> StripeObject:
    """List customers that were not deleted."""
    customers = [
        customer
        for customer in store.table("customer").values()
        if not customer.get("deleted")
        and matches(customer, params, "email")
        and in_range(customer["created"], params.get("created"))
    ]
    return page(customers, params, "/v1/customers")


def delete_customer(store: Store, _: Params, customer_id: str) -> StripeObject:
    """Delete a customer and cancel what it subscribes to; what Stripe shows from then on is only that."""
    customer = store.get("customer", customer_id, in_path=True)
    for subscription in store.where("subscription", customer=customer_id):
        if subscription["status"] not in ENDED:
            end_subscription(store, subscription, "requested")
    for invoice in store.where("invoice", customer=customer_id):
        invoice |= {"auto_advance": False, "automatically_finalizes_at": None, "next_payment_attempt": None}
    detach_all(store, customer_id)
    deleted: StripeObject = {"id": customer_id, "object": "customer", "deleted": True}
    store.table("customer")[customer_id] = deleted
    store.emit("customer.deleted", customer)
    return deleted


def subscriptions_of(store: Store, customer: StripeObject) -> StripeObject:
    """Return a customer's subscriptions, for `expand[]=subscriptions`."""
    living = [
        subscription
        for subscription in store.where("subscription", customer=customer["id"])
        if subscription["status"] in _LIVING
    ]
    return embedded_list(f"/v1/customers/{customer['id']}/subscriptions", living[::-1])


OPERATIONS = [
    Operation("POST", "/v1/customers", create_customer, "customer_create", _SUPPORTED),
    Operation("DELETE", "/v1/customers/{id}", delete_customer, "customer_delete"),
    Operation(
        "GET",
        "/v1/customers",
        list_customers,
        "customer_list",
        "created email ending_before limit starting_after",
    ),
    Operation("GET", "/v1/customers/{id}", retrieve_customer, "customer_retrieve"),
    Operation(
        "POST",
        "/v1/customers/{id}",
        update_customer,
        "customer_update",
        _SUPPORTED.replace("payment_method ", ""),
    ),
]
