"""Subscriptions: create, retrieve, list."""

from sandbox.stripe.billing import advance_lines, bill, items_of, period_of
from sandbox.stripe.cancellation import set_cancellation
from sandbox.stripe.collection import advance
from sandbox.stripe.errors import StripeError, missing_param, not_supported
from sandbox.stripe.lines import is_metered, part_line
from sandbox.stripe.lists import in_range, matches, page
from sandbox.stripe.objects import Params, StripeObject, merge_metadata, new_id, new_object
from sandbox.stripe.operations import Operation
from sandbox.stripe.payment_methods import get_attached
from sandbox.stripe.payments import NO_METHOD, refusal_of
from sandbox.stripe.periods import period_end, period_start
from sandbox.stripe.setup_intents import create_setup_intent
from sandbox.stripe.store import Store
from sandbox.stripe.subscription_changes import new_trial_end
from sandbox.stripe.subscription_items import build_item, check_items, items_list
from sandbox.stripe.subscription_status import ENDED, set_status

_DAY = 24 * 3600
_CREATE = (
    "billing_cycle_anchor cancel_at cancel_at_period_end collection_method currency customer "
    "default_payment_method description items.price items.quantity items.metadata off_session "
    "payment_behavior payment_settings.save_default_payment_method proration_behavior trial_end "
    "trial_period_days trial_settings"
)


def create_subscription(store: Store, params: Params) -> StripeObject:
    """Create a subscription, and bill its first period."""
    subscription = build_subscription(store, params)
    method = _method(store, subscription)
    behavior = params.get("payment_behavior", "allow_incomplete")
    lines = first_lines(store, subscription, params)
    if sum(line["amount"] for line in lines) > 0:
        _check_payable(method, behavior)
    store.insert(subscription)
    subscription["_is_new"] = True
    if subscription["trial_end"] and method is None:
        params = {"customer": subscription["customer"], "usage": "off_session"}
        subscription["pending_setup_intent"] = create_setup_intent(store, params)["id"]
    invoice = bill(store, subscription, lines, "subscription_create")
    advance(store, invoice, attempt=behavior != "default_incomplete")
    if subscription["trial_end"]:
        set_status(store, subscription, "trialing")
    del subscription["_is_new"]
    store.emit("customer.subscription.created", subscription)
    return subscription


def _check_payable(method: StripeObject | None, behavior: str) -> None:
    if behavior == "default_incomplete":
        return
    if method is None:
        raise StripeError(NO_METHOD, "resource_missing")
    if behavior == "error_if_incomplete" and (error := refusal_of(method)):
        raise error


def build_subscription(store: Store, params: Params) -> StripeObject:
    """Return a subscription that is not stored yet."""
    _check(params)
    customer = store.get("customer", params["customer"], "customer")
    now, subscription_id = store.now(), new_id("sub")
    trial_end = _trial_end(params, now)
    items = [
        build_item(store, subscription_id, each, position, (now, now))
        for position, each in enumerate(params["items"])
    ]
    check_items(items)
    anchor = trial_end or params.get("billing_cycle_anchor", now)
    end = trial_end or _first_end(items[0], anchor, now)
    for item in items:
        item["current_period_end"] = end
    method = params.get("default_payment_method")
    if method:
        method = get_attached(store, method, customer["id"], "default_payment_method")["id"]
    subscription = _members(store, params, subscription_id) | {
        "billing_cycle_anchor": anchor,
        "currency": items[0]["price"]["currency"],
        "customer": customer["id"],
        "default_payment_method": method,
        "items": items_list(subscription_id, items),
        "trial_end": trial_end,
        "trial_start": now if trial_end else None,
        "_base_url": store.context.base_url,
    }
    set_cancellation(store, subscription, params)
    return subscription


def _check(params: Params) -> None:
    if "customer" not in params:
        raise missing_param("customer")
    if not params.get("items"):
        raise missing_param("items")
    if params.get("collection_method", "charge_automatically") != "charge_automatically":
        raise not_supported("collection_method=send_invoice", "collection_method")
    if params.get("payment_behavior") == "pending_if_incomplete":
        raise not_supported("payment_behavior=pending_if_incomplete", "payment_behavior")


def _trial_end(params: Params, now: int) -> int | None:
    if "trial_end" in params and "trial_period_days" in params:
        message = "You may only specify one of these parameters: trial_end, trial_period_days."
        raise StripeError(message, "parameters_exclusive")
    if "billing_cycle_anchor" in params and ("trial_end" in params or "trial_period_days" in params):
        raise not_supported("billing_cycle_anchor together with a trial", "billing_cycle_anchor")
    if days := params.get("trial_period_days", 0):
        return now + int(days) * _DAY
    return new_trial_end(params, now)


def _first_end(item: StripeObject, anchor: int, now: int) -> int:
    recurring = item["price"]["recurring"]
    end = period_end(now, recurring, now)
    if not now <= anchor <= end:
        message = "billing_cycle_anchor must be in the future, and within the first period."
        raise StripeError(message, param="billing_cycle_anchor")
    return anchor if anchor > now else end


_NEW_SUBSCRIPTION: StripeObject = {
    "object": "subscription",
    "application": None,
    "application_fee_percent": None,
    "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
    "billing_cycle_anchor_config": None,
    "billing_mode": {"flexible": None, "type": "classic"},
    "billing_schedules": [],
    "billing_thresholds": None,
    "cancel_at": None,
    "cancel_at_period_end": False,
    "canceled_at": None,
    "cancellation_details": {"comment": None, "feedback": None, "reason": None},
    "collection_method": "charge_automatically",
    "days_until_due": None,
    "default_source": None,
    "default_tax_rates": [],
    "discounts": [],
    "ended_at": None,
    "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
    "latest_invoice": None,
    "livemode": False,
    "next_pending_invoice_item_invoice": None,
    "on_behalf_of": None,
    "pause_collection": None,
    "pending_invoice_item_interval": None,
    "pending_setup_intent": None,
    "pending_update": None,
    "schedule": None,
    "status": "incomplete",
    "status_details": None,
    "test_clock": None,
    "transfer_data": None,
}


def _members(store: Store, params: Params, subscription_id: str) -> StripeObject:
    now = store.now()
    ending = {"billing_cycle_anchor": "unchanged", "missing_payment_method": "create_invoice"}
    ending |= params.get("trial_settings", {}).get("end_behavior", {})
    saving = params.get("payment_settings", {}).get("save_default_payment_method", "off")
    return new_object(
        _NEW_SUBSCRIPTION,
        id=subscription_id,
        created=now,
        description=params.get("description"),
        metadata=merge_metadata({}, params.get("metadata", {})),
        payment_settings={
            "payment_method_options": None,
            "payment_method_types": None,
            "save_default_payment_method": saving,
        },
        start_date=now,
        trial_settings={"end_behavior": ending},
    )


def first_lines(store: Store, subscription: StripeObject, params: Params) -> list[StripeObject]:
    """Return the lines of the first invoice: a free trial, a part of a period, or a period."""
    items = items_of(subscription)
    start, end = period_of(subscription)
    anchor = subscription["billing_cycle_anchor"]
    if subscription["trial_end"]:
        return advance_lines(store, items, start, end, trial=True)
    if anchor == start:
        return advance_lines(store, items, start, end)
    if params.get("proration_behavior", "create_prorations") == "none":
        return []
    whole = end - period_start(anchor, items[0]["price"]["recurring"], end)
    return [part_line(store, item, start, end, whole) for item in items if not is_metered(item)]


def _method(store: Store, subscription: StripeObject) -> StripeObject | None:
    customer = store.table("customer")[subscription["customer"]]
    name = subscription["default_payment_method"] or customer["invoice_settings"]["default_payment_method"]
    return store.table("payment_method").get(name or "")


def retrieve_subscription(store: Store, _: Params, subscription_id: str) -> StripeObject:
    """Return a subscription, also one that has ended."""
    return store.get("subscription", subscription_id, in_path=True)


def list_subscriptions(store: Store, params: Params) -> StripeObject:
    """List subscriptions: those that have not ended, unless a status is asked for."""
    status = params.get("status", "living")
    subscriptions = [
        each
        for each in store.table("subscription").values()
        if matches(each, params, "customer", "collection_method")
        and _has_status(each, status)
        and in_range(each["created"], params.get("created"))
        and in_range(period_of(each)[0], params.get("current_period_start"))
        and in_range(period_of(each)[1], params.get("current_period_end"))
        and ("price" not in params or params["price"] in [item["price"]["id"] for item in items_of(each)])
    ]
    return page(subscriptions, params, "/v1/subscriptions")


def _has_status(subscription: StripeObject, status_filter: str) -> bool:
    status = str(subscription["status"])
    return {"all": True, "ended": status in ENDED, "living": status not in ENDED}.get(
        status_filter, status == status_filter
    )


OPERATIONS = [
    Operation("POST", "/v1/subscriptions", create_subscription, "subscription_create", _CREATE),
    Operation(
        "GET",
        "/v1/subscriptions",
        list_subscriptions,
        "subscription_list",
        "collection_method created current_period_end current_period_start customer ending_before limit "
        "price starting_after status",
    ),
    Operation("GET", "/v1/subscriptions/{id}", retrieve_subscription, "subscription_retrieve"),
]
