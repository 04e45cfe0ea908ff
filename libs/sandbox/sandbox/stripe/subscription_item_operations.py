"""The operations on single items, which are changes of their subscription."""

from sandbox.stripe.billing import items_of
from sandbox.stripe.errors import StripeError, missing_object
from sandbox.stripe.lists import page
from sandbox.stripe.objects import Params, StripeObject
from sandbox.stripe.operations import Operation
from sandbox.stripe.store import Store
from sandbox.stripe.subscription_updates import update_subscription

_OF_ITEM = ("price", "quantity", "metadata")
_OF_SUBSCRIPTION = ("payment_behavior", "proration_behavior", "proration_date")
_SUPPORTED = " ".join((*_OF_ITEM, *_OF_SUBSCRIPTION))


def _find(store: Store, item_id: str) -> tuple[StripeObject, StripeObject]:
    for subscription in store.table("subscription").values():
        for item in items_of(subscription):
            if item["id"] == item_id:
                return subscription, item
    raise missing_object("subscription_item", item_id, in_path=True)


def _change(store: Store, subscription_id: str, item: Params, params: Params) -> StripeObject:
    shared = {name: params[name] for name in _OF_SUBSCRIPTION if name in params}
    return update_subscription(store, {"items": [item], **shared}, subscription_id)


def create_item(store: Store, params: Params) -> StripeObject:
    """Add an item to a subscription."""
    subscription = store.get("subscription", params["subscription"], "subscription")
    item = {name: params[name] for name in _OF_ITEM if name in params}
    return items_of(_change(store, subscription["id"], item, params))[-1]


def update_item(store: Store, params: Params, item_id: str) -> StripeObject:
    """Change an item's price or quantity."""
    subscription, _ = _find(store, item_id)
    item = {"id": item_id} | {name: params[name] for name in _OF_ITEM if name in params}
    _change(store, subscription["id"], item, params)
    return _find(store, item_id)[1]


def delete_item(store: Store, params: Params, item_id: str) -> StripeObject:
    """Remove an item from a subscription that has others."""
    subscription, _ = _find(store, item_id)
    if len(items_of(subscription)) == 1:
        raise StripeError(
            "A subscription must have at least one active plan; cancel it instead.", param="item"
        )
    _change(store, subscription["id"], {"id": item_id, "deleted": True}, params)
    return {"id": item_id, "object": "subscription_item", "deleted": True}


def retrieve_item(store: Store, _: Params, item_id: str) -> StripeObject:
    """Return an item."""
    return _find(store, item_id)[1]


def list_items(store: Store, params: Params) -> StripeObject:
    """List the items of a subscription."""
    subscription = store.get("subscription", params["subscription"], "subscription")
    return page(items_of(subscription)[::-1], params, "/v1/subscription_items")


_PATH = "/v1/subscription_items"
OPERATIONS = [
    Operation("POST", _PATH, create_item, "subscription_item_create", f"subscription {_SUPPORTED}"),
    Operation("GET", _PATH, list_items, "subscription_item_list"),
    Operation("GET", f"{_PATH}/{{id}}", retrieve_item, "subscription_item_retrieve"),
    Operation(
        "POST", f"{_PATH}/{{id}}", update_item, "subscription_item_update", f"{_SUPPORTED} off_session"
    ),
    Operation(
        "DELETE",
        f"{_PATH}/{{id}}",
        delete_item,
        "subscription_item_delete",
        "proration_behavior proration_date",
    ),
]
