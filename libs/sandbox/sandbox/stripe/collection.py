"""Collecting what is due: finalize, charge, try again later, and what it means for the subscription."""

from sandbox.stripe.errors import StripeError
from sandbox.stripe.invoices import finalize, mark_paid, mark_uncollectible, subscription_of, void
from sandbox.stripe.objects import StripeObject
from sandbox.stripe.payments import charge, method_for
from sandbox.stripe.store import Store
from sandbox.stripe.subscription_status import end_subscription, set_status

_DAY = 24 * 3600
_RECOVERABLE = frozenset({"incomplete", "past_due", "unpaid"})


def advance(store: Store, invoice: StripeObject, *, attempt: bool = True) -> StripeError | None:
    """Finalize a draft and collect it; a subscription whose collection is paused says otherwise."""
    subscription = subscription_of(store, invoice)
    paused = (subscription or {}).get("pause_collection")
    if paused and paused["behavior"] == "keep_as_draft":
        invoice |= {"auto_advance": False, "automatically_finalizes_at": None}
        return None
    finalize(store, invoice)
    if paused:
        (void if paused["behavior"] == "void" else mark_uncollectible)(store, invoice)
        return None
    if not invoice["amount_due"]:
        settle(store, invoice)
        return None
    return collect(store, invoice) if attempt else None


def collect(
    store: Store, invoice: StripeObject, method: StripeObject | None = None, *, authenticated: bool = False
) -> StripeError | None:
    """Charge what an open invoice asks for; returns the error it ends in."""
    subscription = subscription_of(store, invoice)
    method = method or method_for(store, invoice, subscription)
    error = charge(store, invoice, method, authenticated=authenticated)
    if error is None:
        _save_method(subscription, method)
        settle(store, invoice)
    else:
        _record_failure(store, invoice, error)
    return error


def _save_method(subscription: StripeObject | None, method: StripeObject | None) -> None:
    if not subscription or not method or subscription["default_payment_method"]:
        return
    if subscription["payment_settings"]["save_default_payment_method"] == "on_subscription":
        subscription["default_payment_method"] = method["id"]


def settle(store: Store, invoice: StripeObject, *, out_of_band: bool = False) -> None:
    """Record a payment; the subscription recovers when its latest invoice is paid."""
    mark_paid(store, invoice, out_of_band=out_of_band)
    customer = store.table("customer")[invoice["customer"]]
    if customer.get("delinquent"):
        with store.updating(customer, "customer.updated"):
            customer["delinquent"] = False
    subscription = subscription_of(store, invoice)
    is_latest = subscription is not None and subscription["latest_invoice"] == invoice["id"]
    if subscription and is_latest and subscription["status"] in _RECOVERABLE:
        set_status(store, subscription, "active")


def _record_failure(store: Store, invoice: StripeObject, error: StripeError) -> None:
    subscription = subscription_of(store, invoice)
    is_first = invoice["billing_reason"] == "subscription_create"
    retries = store.rules.retry_days
    with store.updating(invoice, "invoice.updated"):
        tried = invoice["attempt_count"]
        again = not is_first and tried < len(retries)
        invoice |= {
            "attempted": True,
            "attempt_count": tried + 1,
            "next_payment_attempt": store.now() + int(retries[tried] * _DAY) if again else None,
        }
    store.emit("invoice.payment_failed", invoice)
    if error.code == "authentication_required":
        store.emit("invoice.payment_action_required", invoice)
    customer = store.table("customer")[invoice["customer"]]
    with store.updating(customer, "customer.updated"):
        customer["delinquent"] = True
    if subscription and not is_first:
        _apply_dunning(store, subscription, invoice)


def _apply_dunning(store: Store, subscription: StripeObject, invoice: StripeObject) -> None:
    if subscription["status"] in {"active", "trialing"}:
        set_status(store, subscription, "past_due")
    if invoice["next_payment_attempt"] is not None or subscription["status"] != "past_due":
        return
    if store.rules.after_dunning == "unpaid":
        set_status(store, subscription, "unpaid")
    elif store.rules.after_dunning == "canceled":
        end_subscription(store, subscription, "payment_failed")
