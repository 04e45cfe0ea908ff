"""Thin events: what happened to which object, for destinations of API v2 that want no snapshots."""

from datetime import UTC, datetime
from typing import Any

from sandbox.stripe.lists import in_range
from sandbox.stripe.objects import Params, StripeObject, new_id
from sandbox.stripe.operations import Operation
from sandbox.stripe.store import Store

_URLS = {
    "billing.meter": "/v1/billing/meters",
    "charge": "/v1/charges",
    "checkout.session": "/v1/checkout/sessions",
    "customer": "/v1/customers",
    "dispute": "/v1/disputes",
    "invoice": "/v1/invoices",
    "invoiceitem": "/v1/invoiceitems",
    "payment_intent": "/v1/payment_intents",
    "payment_method": "/v1/payment_methods",
    "price": "/v1/prices",
    "product": "/v1/products",
    "setup_intent": "/v1/setup_intents",
    "subscription": "/v1/subscriptions",
}


def iso(moment: int) -> str:
    """Return a time as API v2 writes it."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def thin_twin(store: Store, event: StripeObject) -> StripeObject | None:
    """Store and return the thin event that goes with a snapshot; none where its object cannot be fetched."""
    obj = event["data"]["object"]
    if obj["object"] not in _URLS or not obj.get("id"):
        return None
    return store.insert(
        thin_event(store, f"v1.{event['type']}", obj["object"], obj["id"]) | {"snapshot_event": event["id"]}
    )


def thin_event(
    store: Store, kind: str, object_type: str | None, object_id: str | None, data: StripeObject | None = None
) -> StripeObject:
    """Return a thin event about an object, if there is one."""
    related: Any = None
    if object_type and object_id:
        related = {"id": object_id, "type": object_type, "url": f"{_URLS[object_type]}/{object_id}"}
    return {
        "id": new_id("evt_test"),
        "object": "v2.core.event",
        "context": None,
        "created": iso(store.now()),
        "_created": store.now(),
        "livemode": False,
        "reason": None,
        "related_object": related,
        "type": kind,
        **({"data": data} if data else {}),
    }


def notification_of(event: StripeObject) -> StripeObject:
    """Return what is sent of a thin event: all but its data."""
    return {name: value for name, value in event.items() if name != "data"}


def v2_page(objects: list[StripeObject], params: Params, url: str) -> StripeObject:
    """Return one page of objects that are given oldest first, as API v2 does."""
    start, limit = int(params.get("page", 0)), params.get("limit", 20)
    newest_first = objects[::-1]
    end = start + limit
    following = f"{url}?limit={limit}&page={end}" if end < len(objects) else None
    return {"data": newest_first[start:end], "next_page_url": following, "previous_page_url": None}


def retrieve_event(store: Store, _: Params, event_id: str) -> StripeObject:
    """Return a thin event with its data."""
    return store.get("v2.core.event", event_id, in_path=True)


def list_events(store: Store, params: Params) -> StripeObject:
    """List thin events."""
    bounds = {
        name: int(datetime.fromisoformat(value).timestamp())
        for name, value in params.get("created", {}).items()
    }
    events = [
        event
        for event in store.table("v2.core.event").values()
        if event["type"] in params.get("types", [event["type"]])
        and in_range(event["_created"], bounds)
        and params.get("object_id", (event["related_object"] or {}).get("id"))
        == (event["related_object"] or {}).get("id")
    ]
    return v2_page(events, params, "/v2/core/events")


OPERATIONS = [
    Operation("GET", "/v2/core/events", list_events, "v2.core.event_list"),
    Operation("GET", "/v2/core/events/{id}", retrieve_event, "v2.core.event_retrieve"),
]
