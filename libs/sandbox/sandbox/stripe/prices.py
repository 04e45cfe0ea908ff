"""Prices: licensed, metered or one-time; found by lookup key."""

from decimal import Decimal

from sandbox.stripe.errors import StripeError, missing_object, missing_param
from sandbox.stripe.lists import in_range, matches, page
from sandbox.stripe.objects import Params, StripeObject, assign, new_id, new_object
from sandbox.stripe.operations import Operation
from sandbox.stripe.products import create_product
from sandbox.stripe.store import Store

_MAX_LOOKUP_KEYS = 10
_CREATE = (
    "active billing_scheme currency lookup_key nickname product product_data.name product_data.metadata "
    "product_data.id product_data.active product_data.unit_label product_data.tax_code "
    "recurring.interval recurring.interval_count recurring.meter recurring.usage_type "
    "recurring.trial_period_days tax_behavior tiers tiers_mode transfer_lookup_key unit_amount "
    "unit_amount_decimal"
)


_NEW_PRICE: StripeObject = {
    "object": "price",
    "active": True,
    "billing_scheme": "per_unit",
    "custom_unit_amount": None,
    "livemode": False,
    "lookup_key": None,
    "metadata": {},
    "nickname": None,
    "tax_behavior": "unspecified",
    "tiers_mode": None,
    "transform_quantity": None,
}


def create_price(store: Store, params: Params) -> StripeObject:
    """Create a price of a product, which may be made along with it."""
    _check(store, params)
    recurring = _recurring(params)
    price = new_object(
        _NEW_PRICE,
        id=new_id("price"),
        _tiers=_tiers(params),
        created=store.now(),
        currency=params["currency"].lower(),
        product=_product(store, params)["id"],
        recurring=recurring,
        type="recurring" if recurring else "one_time",
        **_amount_members(params, "unit_amount"),
    )
    assign(price, params, "active", "billing_scheme", "nickname", "tax_behavior", "tiers_mode")
    _set_lookup_key(store, price, params)
    return store.insert(price, "price.created")


def _product(store: Store, params: Params) -> StripeObject:
    if "product_data" in params:
        return create_product(store, params["product_data"])
    return store.get("product", params["product"], "product")


def _check(store: Store, params: Params) -> None:
    if len(params["currency"]) != 3 or not params["currency"].isalpha():
        raise StripeError(f"Invalid currency: {params['currency'].lower()}.", param="currency")
    if ("product" in params) == ("product_data" in params):
        if "product" in params:
            message = "You may only specify one of these parameters: product, product_data."
            raise StripeError(message, "parameters_exclusive")
        raise missing_param("product")
    _check_scheme(params)
    _check_meter(store, params.get("recurring", {}))
    _check_lookup_key(store, params)


def _check_scheme(params: Params) -> None:
    amounts = [name for name in ("unit_amount", "unit_amount_decimal") if name in params]
    if len(amounts) > 1:
        message = "You may only specify one of these parameters: unit_amount, unit_amount_decimal."
        raise StripeError(message, "parameters_exclusive")
    is_tiered = params.get("billing_scheme") == "tiered"
    if not is_tiered and not amounts:
        raise missing_param("unit_amount")
    if is_tiered != ("tiers" in params) or is_tiered != ("tiers_mode" in params) or (is_tiered and amounts):
        message = "A price has tiers and tiers_mode, and no amount of its own, where its scheme is tiered."
        raise StripeError(message, param="billing_scheme")
    bounds = [tier["up_to"] for tier in params.get("tiers", [])]
    if is_tiered and (
        bounds[-1:] != ["inf"] or "inf" in bounds[:-1] or bounds[:-1] != sorted(set(bounds[:-1]))
    ):
        raise StripeError("Tiers go upwards, and the last ends at inf.", param="tiers")


def _tiers(params: Params) -> list[StripeObject]:
    return [
        {
            "up_to": None if tier["up_to"] == "inf" else tier["up_to"],
            **_amount_members(tier, "unit_amount"),
            **_amount_members(tier, "flat_amount"),
        }
        for tier in params.get("tiers", [])
    ]


def tiers_of(store: Store, price: StripeObject) -> list[StripeObject]:
    """Return a price's tiers, for `expand[]=tiers`."""
    return list(store.table("price")[price["id"]]["_tiers"])


def _check_meter(store: Store, recurring: Params) -> None:
    is_metered = recurring.get("usage_type") == "metered"
    if is_metered != ("meter" in recurring):
        message = "A metered price must be backed by a meter, and only a metered price can be."
        raise StripeError(message, param="recurring[meter]")
    if (
        is_metered
        and store.get("billing.meter", recurring["meter"], "recurring[meter]")["status"] != "active"
    ):
        raise StripeError("The meter is not active.", "archived_meter_attached", "recurring[meter]")


def _recurring(params: Params) -> StripeObject | None:
    if "recurring" not in params:
        return None
    return {
        "interval": params["recurring"]["interval"],
        "interval_count": params["recurring"].get("interval_count", 1),
        "meter": params["recurring"].get("meter"),
        "trial_period_days": params["recurring"].get("trial_period_days"),
        "usage_type": params["recurring"].get("usage_type", "licensed"),
    }


def _amount_members(params: Params, name: str) -> StripeObject:
    value = params.get(name, params.get(f"{name}_decimal"))
    if value is None:
        return {name: None, f"{name}_decimal": None}
    amount = Decimal(value)
    if amount < 0 or -int(amount.as_tuple().exponent) > 12:
        raise StripeError("An amount is at least 0, with at most 12 decimals.", param=name)
    is_whole = amount == amount.to_integral_value()
    return {name: int(amount) if is_whole else None, f"{name}_decimal": f"{amount.normalize():f}"}


def _check_lookup_key(store: Store, params: Params, own: str = "") -> None:
    key = params.get("lookup_key")
    if not key or params.get("transfer_lookup_key"):
        return
    if any(price["id"] != own for price in store.where("price", lookup_key=key)):
        message = f"A price already uses the lookup key '{key}'. Use `transfer_lookup_key=true` to move it."
        raise StripeError(message, param="lookup_key")


def _set_lookup_key(store: Store, price: StripeObject, params: Params) -> None:
    if "lookup_key" not in params:
        return
    for other in store.where("price", lookup_key=params["lookup_key"]):
        if other["id"] != price["id"] and params["lookup_key"]:
            with store.updating(other, "price.updated"):
                other["lookup_key"] = None
    price["lookup_key"] = params["lookup_key"] or None


def update_price(store: Store, params: Params, price_id: str) -> StripeObject:
    """Change what of a price can change: never its amount."""
    price = store.get("price", price_id, in_path=True)
    _check_lookup_key(store, params, price_id)
    with store.updating(price, "price.updated"):
        assign(price, params, "active", "nickname", "tax_behavior")
        _set_lookup_key(store, price, params)
    return price


def retrieve_price(store: Store, _: Params, price_id: str) -> StripeObject:
    """Return a price."""
    return store.get("price", price_id, in_path=True)


def list_prices(store: Store, params: Params) -> StripeObject:
    """List prices, also by lookup keys."""
    keys = params.get("lookup_keys")
    if keys and len(keys) > _MAX_LOOKUP_KEYS:
        raise StripeError(f"You can list at most {_MAX_LOOKUP_KEYS} lookup keys.", param="lookup_keys")
    filters = params.get("recurring", {})
    prices = [
        price
        for price in store.table("price").values()
        if matches(price, params, "active", "currency", "product", "type")
        and (keys is None or price["lookup_key"] in keys)
        and matches(price["recurring"] or {}, filters, *filters)
        and in_range(price["created"], params.get("created"))
    ]
    return page(prices, params, "/v1/prices")


def get_usable_price(store: Store, price_id: str, param: str) -> StripeObject:
    """Return an active recurring price; raises StripeError."""
    price = store.table("price").get(price_id)
    if price is None:
        raise missing_object("price", price_id, param)
    if not price["active"]:
        raise StripeError(
            "The price specified is inactive. This field only accepts active prices.", param=param
        )
    if price["type"] != "recurring":
        message = (
            "The price specified is set to `type=one_time` but this field only accepts prices with "
            "`type=recurring`."
        )
        raise StripeError(message, param=param)
    return price


OPERATIONS = [
    Operation("POST", "/v1/prices", create_price, "price_create", _CREATE),
    Operation("GET", "/v1/prices", list_prices, "price_list"),
    Operation("GET", "/v1/prices/{id}", retrieve_price, "price_retrieve"),
    Operation(
        "POST",
        "/v1/prices/{id}",
        update_price,
        "price_update",
        "active lookup_key nickname tax_behavior transfer_lookup_key",
    ),
]
