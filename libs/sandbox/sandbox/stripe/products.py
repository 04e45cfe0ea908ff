"""Products, and the entitlement features that they carry."""

from sandbox.stripe.errors import StripeError
from sandbox.stripe.lists import in_range, matches, page
from sandbox.stripe.objects import Params, StripeObject, assign, new_id, new_object
from sandbox.stripe.operations import Operation
from sandbox.stripe.store import Store

_MEMBERS = ("active", "description", "images", "marketing_features", "name", "statement_descriptor")
_MORE = ("tax_code", "unit_label", "url", "shippable")


_NEW_PRODUCT: StripeObject = {
    "object": "product",
    "active": True,
    "default_price": None,
    "description": None,
    "images": [],
    "livemode": False,
    "marketing_features": [],
    "metadata": {},
    "package_dimensions": None,
    "shippable": None,
    "statement_descriptor": None,
    "tax_code": None,
    "unit_label": None,
    "url": None,
}


def create_product(store: Store, params: Params) -> StripeObject:
    """Create a product; its id may be chosen."""
    product_id = params.get("id") or new_id("prod", 14)
    if product_id in store.table("product"):
        raise StripeError("Product already exists.", "resource_already_exists", "id")
    product = new_object(
        _NEW_PRODUCT,
        id=product_id,
        created=store.now(),
        type=params.get("type", "service"),
        updated=store.now(),
    )
    assign(product, params, *_MEMBERS, *_MORE)
    return store.insert(product, "product.created")


def update_product(store: Store, params: Params, product_id: str) -> StripeObject:
    """Change a product."""
    product = store.get("product", product_id, in_path=True)
    if "default_price" in params:
        store.get("price", params["default_price"], "default_price")
    with store.updating(product, "product.updated"):
        assign(product, params, *_MEMBERS, *_MORE, "default_price")
        product["updated"] = store.now()
    return product


def retrieve_product(store: Store, _: Params, product_id: str) -> StripeObject:
    """Return a product."""
    return store.get("product", product_id, in_path=True)


def delete_product(store: Store, _: Params, product_id: str) -> StripeObject:
    """Delete a product that has no prices."""
    product = store.get("product", product_id, in_path=True)
    if store.where("price", product=product_id):
        raise StripeError("This product cannot be deleted because it has one or more user-created prices.")
    del store.table("product")[product_id]
    store.emit("product.deleted", product)
    return {"id": product_id, "object": "product", "deleted": True}


def list_products(store: Store, params: Params) -> StripeObject:
    """List products."""
    products = [
        product
        for product in store.table("product").values()
        if matches(product, params, "active", "type", "url", "shippable")
        and product["id"] in params.get("ids", [product["id"]])
        and in_range(product["created"], params.get("created"))
    ]
    return page(products, params, "/v1/products")


OPERATIONS = [
    Operation(
        "POST", "/v1/products", create_product, "product_create", " ".join(("id type", *_MEMBERS, *_MORE))
    ),
    Operation("GET", "/v1/products", list_products, "product_list"),
    Operation("GET", "/v1/products/{id}", retrieve_product, "product_retrieve"),
    Operation(
        "POST",
        "/v1/products/{id}",
        update_product,
        "product_update",
        " ".join(("default_price", *_MEMBERS, *_MORE)),
    ),
    Operation("DELETE", "/v1/products/{id}", delete_product, "product_delete"),
]
