"""Entitlements: features, the products that carry them, and what a customer is therefore entitled to."""

from sandbox.stripe.errors import StripeError
from sandbox.stripe.lists import matches, page
from sandbox.stripe.objects import Params, StripeObject, assign, embedded_list, merge_metadata, new_id
from sandbox.stripe.operations import Operation
from sandbox.stripe.store import Store

# As at Stripe, who is late with a payment keeps what was bought until the subscription ends or is unpaid.
_ENTITLING = frozenset({"active", "trialing", "past_due"})
_FEATURE = "entitlements.feature"


def create_feature(store: Store, params: Params) -> StripeObject:
    """Create a feature; its lookup key is unique."""
    if store.where(_FEATURE, lookup_key=params["lookup_key"]):
        message = f"A feature with the lookup key '{params['lookup_key']}' already exists."
        raise StripeError(message, "resource_already_exists", "lookup_key")
    return store.insert(
        {
            "id": new_id("feat"),
            "object": _FEATURE,
            "active": True,
            "livemode": False,
            "lookup_key": params["lookup_key"],
            "metadata": merge_metadata({}, params.get("metadata", {})),
            "name": params["name"],
        }
    )


def update_feature(store: Store, params: Params, feature_id: str) -> StripeObject:
    """Change a feature."""
    feature = store.get(_FEATURE, feature_id, in_path=True)
    with store.updating(feature):
        assign(feature, params, "active", "name")
    return feature


def retrieve_feature(store: Store, _: Params, feature_id: str) -> StripeObject:
    """Return a feature."""
    return store.get(_FEATURE, feature_id, in_path=True)


def list_features(store: Store, params: Params) -> StripeObject:
    """List features: the active ones, unless archived ones are asked for."""
    archived = params.get("archived", False)
    features = [
        feature
        for feature in store.table(_FEATURE).values()
        if feature["active"] is not archived and matches(feature, params, "lookup_key")
    ]
    return page(features, params, "/v1/entitlements/features")


def add_to_product(store: Store, params: Params, product_id: str) -> StripeObject:
    """Add a feature to a product."""
    store.get("product", product_id, "product", in_path=True)
    feature = store.get(_FEATURE, params["entitlement_feature"], "entitlement_feature")
    if any(each["entitlement_feature"]["id"] == feature["id"] for each in _of_product(store, product_id)):
        raise StripeError("This feature is already attached to the product.", "resource_already_exists")
    attached = store.insert(
        {
            "id": new_id("prodft"),
            "object": "product_feature",
            "_product": product_id,
            "entitlement_feature": feature,
            "livemode": False,
        }
    )
    refresh_all(store)
    return attached


def _of_product(store: Store, product_id: str) -> list[StripeObject]:
    return store.where("product_feature", _product=product_id)


def list_of_product(store: Store, params: Params, product_id: str) -> StripeObject:
    """List the features that a product carries."""
    store.get("product", product_id, "product", in_path=True)
    return page(_of_product(store, product_id), params, f"/v1/products/{product_id}/features")


def remove_from_product(store: Store, _: Params, _product_id: str, attached_id: str) -> StripeObject:
    """Remove a feature from a product."""
    store.get("product_feature", attached_id, in_path=True)
    del store.table("product_feature")[attached_id]
    refresh_all(store)
    return {"id": attached_id, "object": "product_feature", "deleted": True}


def refresh_all(store: Store) -> None:
    """Compute every customer's entitlements anew."""
    for customer_id in list(store.table("customer")):
        refresh_entitlements(store, customer_id)


def refresh_entitlements(store: Store, customer_id: str) -> None:
    """Compute a customer's entitlements anew, and publish the summary if it has changed."""
    features = _features_of(store, customer_id)
    active = store.where("entitlements.active_entitlement", _customer=customer_id)
    before = sorted(each["lookup_key"] for each in active)
    if before == sorted(feature["lookup_key"] for feature in features):
        return
    for gone in active:
        if gone["feature"] not in {feature["id"] for feature in features}:
            del store.table("entitlements.active_entitlement")[gone["id"]]
    for feature in features:
        if feature["lookup_key"] not in before:
            _grant(store, customer_id, feature)
    store.emit("entitlements.active_entitlement_summary.updated", _summary(store, customer_id))


def _grant(store: Store, customer_id: str, feature: StripeObject) -> None:
    store.insert(
        {
            "id": new_id("ent"),
            "object": "entitlements.active_entitlement",
            "_customer": customer_id,
            "feature": feature["id"],
            "livemode": False,
            "lookup_key": feature["lookup_key"],
        }
    )


def _features_of(store: Store, customer_id: str) -> list[StripeObject]:
    products = {
        item["price"]["product"]
        for subscription in store.where("subscription", customer=customer_id)
        if subscription["status"] in _ENTITLING
        for item in subscription["items"]["data"]
    }
    features = {
        attached["entitlement_feature"]["id"]: attached["entitlement_feature"]
        for product in products
        for attached in _of_product(store, product)
    }
    return list(features.values())


def _summary(store: Store, customer_id: str) -> StripeObject:
    url = f"/v1/customer/{customer_id}/entitlements"
    active = store.where("entitlements.active_entitlement", _customer=customer_id)
    return {
        "object": "entitlements.active_entitlement_summary",
        "customer": customer_id,
        "entitlements": embedded_list(url, active),
        "livemode": False,
    }


def list_active(store: Store, params: Params) -> StripeObject:
    """List what a customer is entitled to."""
    store.get("customer", params["customer"], "customer")
    active = store.where("entitlements.active_entitlement", _customer=params["customer"])
    return page(active, params, "/v1/entitlements/active_entitlements")


def retrieve_active(store: Store, _: Params, entitlement_id: str) -> StripeObject:
    """Return one entitlement."""
    return store.get("entitlements.active_entitlement", entitlement_id, in_path=True)


OPERATIONS = [
    Operation("POST", "/v1/entitlements/features", create_feature, "entitlements.feature_create"),
    Operation("GET", "/v1/entitlements/features", list_features, "entitlements.feature_list"),
    Operation("GET", "/v1/entitlements/features/{id}", retrieve_feature, "entitlements.feature_retrieve"),
    Operation("POST", "/v1/entitlements/features/{id}", update_feature, "entitlements.feature_update"),
    Operation("POST", "/v1/products/{id}/features", add_to_product, "product_feature_create"),
    Operation("GET", "/v1/products/{id}/features", list_of_product, "product_feature_list"),
    Operation(
        "DELETE", "/v1/products/{id}/features/{feature}", remove_from_product, "product_feature_delete"
    ),
    Operation(
        "GET", "/v1/entitlements/active_entitlements", list_active, "entitlements.active_entitlement_list"
    ),
    Operation(
        "GET",
        "/v1/entitlements/active_entitlements/{id}",
        retrieve_active,
        "entitlements.active_entitlement_retrieve",
    ),
]
