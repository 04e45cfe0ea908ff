"""Subscriptions: update, cancel, pause, resume."""

from sandbox.stripe.billing import advance_lines, bill, items_of, period_of, unused_time_lines, usage_lines
from sandbox.stripe.cancellation import set_cancellation
from sandbox.stripe.collection import advance
from sandbox.stripe.entitlements import refresh_entitlements
from sandbox.stripe.errors import StripeError, missing_object, not_supported
from sandbox.stripe.invoice_items import add_pending
from sandbox.stripe.lines import is_metered, part_line
from sandbox.stripe.objects import Params, StripeObject, assign
from sandbox.stripe.operations import Operation
from sandbox.stripe.payment_methods import get_attached
from sandbox.stripe.payments import method_for, refusal_of
from sandbox.stripe.periods import add_periods, period_end, period_start
from sandbox.stripe.store import Store
from sandbox.stripe.subscription_changes import Change, plan_change
from sandbox.stripe.subscription_items import items_list
from sandbox.stripe.subscription_status import ENDED, end_subscription, pause_status, set_status

_UPDATE = (
    "billing_cycle_anchor cancel_at cancel_at_period_end cancellation_details default_payment_method "
    "description items.id items.price items.quantity items.metadata items.deleted off_session "
    "pause_collection payment_behavior payment_settings.save_default_payment_method proration_behavior "
    "proration_date trial_end trial_settings"
)


def update_subscription(store: Store, params: Params, subscription_id: str) -> StripeObject:
    """Change a subscription, and bill what the change costs."""
    subscription = _get_living(store, subscription_id, params)
    behavior = params.get("payment_behavior", "allow_incomplete")
    if behavior == "pending_if_incomplete":
        raise not_supported("payment_behavior=pending_if_incomplete", "payment_behavior")
    if subscription["status"] in ENDED:
        return _annotate(store, subscription, params)
    change = plan_change(store, subscription, params)
    bills_now = change.restarts or params.get("proration_behavior") == "always_invoice"
    if bills_now and behavior == "error_if_incomplete":
        _check_payable(store, subscription, change)
    invoice = None
    with store.updating(subscription, "customer.subscription.updated"):
        _apply(store, subscription, params, change)
        if not bills_now:
            add_pending(store, subscription["customer"], change.prorations, subscription["id"])
        elif change.lines:
            invoice = bill(store, subscription, change.lines, "subscription_update")
    if invoice is not None:
        advance(store, invoice, attempt=behavior != "default_incomplete")
        if invoice["status"] == "open" and behavior == "default_incomplete":
            set_status(store, subscription, "past_due")
    refresh_entitlements(store, subscription["customer"])
    return subscription


def _get_living(store: Store, subscription_id: str, params: Params) -> StripeObject:
    subscription = store.get("subscription", subscription_id, in_path=True)
    if subscription["status"] in ENDED and set(params) - {"metadata", "cancellation_details", "expand"}:
        message = "A canceled subscription can only update its cancellation_details and metadata."
        raise StripeError(message)
    return subscription


def _annotate(store: Store, subscription: StripeObject, params: Params) -> StripeObject:
    """Change what can still be changed of a subscription that has ended."""
    with store.updating(subscription, "customer.subscription.updated"):
        assign(subscription, params)
        subscription["cancellation_details"] |= params.get("cancellation_details", {})
    return subscription


def _check_payable(store: Store, subscription: StripeObject, change: Change) -> None:
    if sum(line["amount"] for line in change.lines) <= 0:
        return
    invoice = {"customer": subscription["customer"], "default_payment_method": None}
    if error := refusal_of(method_for(store, invoice, subscription)):
        raise error


def _apply(store: Store, subscription: StripeObject, params: Params, change: Change) -> None:
    if params.get("default_payment_method"):
        name = params["default_payment_method"]
        method = get_attached(store, name, subscription["customer"], "default_payment_method")
        subscription["default_payment_method"] = method["id"]
    assign(subscription, params, "description")
    for name in ("payment_settings", "cancellation_details"):
        subscription[name] |= params.get(name, {})
    if "pause_collection" in params:
        pause = params["pause_collection"] or None
        subscription["pause_collection"] = pause and {"resumes_at": None, **pause}
    if "trial_settings" in params:
        subscription["trial_settings"]["end_behavior"] |= params["trial_settings"]["end_behavior"]
    subscription["items"] = items_list(subscription["id"], change.items)
    subscription["billing_cycle_anchor"] = change.anchor
    _apply_trial(store, subscription, change)
    set_cancellation(store, subscription, params)
    if subscription["cancel_at_period_end"]:
        subscription["cancel_at"] = period_of(subscription)[1]


def _apply_trial(store: Store, subscription: StripeObject, change: Change) -> None:
    if change.trial_end and change.trial_end != subscription["trial_end"]:
        subscription |= {
            "status": "trialing",
            "trial_start": subscription["trial_start"] or store.now(),
            "trial_end": change.trial_end,
            "_trial_end_announced": False,
        }
    elif change.restarts and subscription["status"] == "trialing":
        subscription |= {"status": "active", "trial_end": store.now()}


def cancel_subscription(store: Store, params: Params, subscription_id: str) -> StripeObject:
    """Cancel a subscription now."""
    subscription = store.get("subscription", subscription_id, in_path=True)
    if subscription["status"] in ENDED:
        raise missing_object("subscription", subscription_id, in_path=True)
    now = store.now()
    owes = subscription["status"] in {"active", "past_due", "unpaid"}
    lines = []
    if params.get("prorate") and owes:
        lines += unused_time_lines(store, subscription, now)
    if params.get("invoice_now"):
        lines += usage_lines(store, subscription, period_of(subscription)[0], now) if owes else []
        final = bill(store, subscription, lines, "subscription_update") if lines else None
        if final:
            advance(store, final)
    else:
        add_pending(store, subscription["customer"], lines, subscription["id"])
    if subscription["status"] not in ENDED:
        end_subscription(store, subscription, "requested", params.get("cancellation_details"))
    return subscription


def pause_subscription(store: Store, params: Params, subscription_id: str) -> StripeObject:
    """Pause a subscription: credit unused time, charge outstanding usage, and bill no more."""
    subscription = store.get("subscription", subscription_id, in_path=True)
    if subscription["status"] not in {"active", "trialing", "past_due"}:
        message = f"You cannot pause a subscription that is {subscription['status']}."
        raise StripeError(message, param="subscription")
    now, start = store.now(), period_of(subscription)[0]
    bill_for = params.get("bill_for", {})
    unused = bill_for.get("unused_time_from", {}).get("type", "now")
    lines = []
    if unused != "none" and subscription["status"] != "trialing":
        lines += unused_time_lines(store, subscription, now if unused == "now" else start)
    if bill_for.get("outstanding_usage_through", {}).get("type", "now") == "now":
        lines += usage_lines(store, subscription, start, now)
    if params.get("invoicing_behavior", "pending_invoice_item") == "pending_invoice_item":
        add_pending(store, subscription["customer"], lines, subscription["id"])
    elif lines:
        advance(store, bill(store, subscription, lines, "subscription_update"))
    subscription["_billed_through"] = now
    pause_status(store, subscription, "pause_requested")
    return subscription


def resume_subscription(store: Store, params: Params, subscription_id: str) -> StripeObject:
    """Resume a paused subscription: with a new period, or for the rest of the one that it would be in."""
    subscription = _get_paused(store, subscription_id, params)
    now = store.now()
    keeps_anchor = params.get("billing_cycle_anchor", {}).get("type", "now") == "unchanged"
    start, end = _resumed_period(subscription, now, keeps_anchor=keeps_anchor)
    with store.updating(subscription, "customer.subscription.updated", "customer.subscription.resumed"):
        subscription |= {"status": "active", "status_details": None}
        for item in items_of(subscription):
            item |= {"current_period_start": start, "current_period_end": end}
        if keeps_anchor:
            invoice = _bill_rest(store, subscription, params)
        else:
            subscription["billing_cycle_anchor"] = now
            lines = advance_lines(store, items_of(subscription), start, end)
            invoice = bill(store, subscription, lines, "subscription_update")
    if invoice is not None:
        advance(store, invoice)
    refresh_entitlements(store, subscription["customer"])
    return subscription


def _get_paused(store: Store, subscription_id: str, params: Params) -> StripeObject:
    subscription = store.get("subscription", subscription_id, in_path=True)
    if subscription["status"] != "paused":
        message = "You can only resume a subscription that is paused."
        raise StripeError(message, param="subscription")
    if params.get("payment_behavior") == "resume_on_payment_success":
        raise not_supported("payment_behavior=resume_on_payment_success", "payment_behavior")
    return subscription


def _bill_rest(store: Store, subscription: StripeObject, params: Params) -> StripeObject | None:
    """Charge for the rest of the period: on an invoice, which is returned, on the next one, or not at all."""
    behavior = params.get("proration_behavior", "create_prorations")
    if behavior == "none":
        return None
    start, end = period_of(subscription)
    moment = int(params.get("proration_date", store.now()))
    licensed = [item for item in items_of(subscription) if not is_metered(item)]
    lines = [part_line(store, item, moment, end, end - start) for item in licensed]
    if behavior == "always_invoice":
        return bill(store, subscription, lines, "subscription_update")
    add_pending(store, subscription["customer"], lines, subscription["id"])
    return None


def _resumed_period(subscription: StripeObject, now: int, *, keeps_anchor: bool) -> tuple[int, int]:
    recurring, anchor = items_of(subscription)[0]["price"]["recurring"], subscription["billing_cycle_anchor"]
    if not keeps_anchor:
        return now, add_periods(now, recurring, 1)
    end = period_end(anchor, recurring, now)
    return period_start(anchor, recurring, end), end


OPERATIONS = [
    Operation("POST", "/v1/subscriptions/{id}", update_subscription, "subscription_update", _UPDATE),
    Operation("DELETE", "/v1/subscriptions/{id}", cancel_subscription, "subscription_cancel"),
    Operation("POST", "/v1/subscriptions/{id}/pause", pause_subscription, "subscription_pause"),
    Operation("POST", "/v1/subscriptions/{id}/resume", resume_subscription, "subscription_resume"),
]
