"""The status of a subscription, and its end."""

from sandbox.stripe.entitlements import refresh_entitlements
from sandbox.stripe.invoices import subscription_of, void
from sandbox.stripe.objects import Params, StripeObject
from sandbox.stripe.store import Store

_NOT_COLLECTED = {"auto_advance": False, "next_payment_attempt": None, "automatically_finalizes_at": None}
ENDED = frozenset({"canceled", "incomplete_expired"})


def set_status(store: Store, subscription: StripeObject, status: str, *events: str) -> None:
    """Change the status, and publish it unless the subscription is still being created."""
    published = () if subscription.get("_is_new") else ("customer.subscription.updated", *events)
    with store.updating(subscription, *published):
        subscription["status"] = status
        if status != "paused":
            subscription["status_details"] = None
    refresh_entitlements(store, subscription["customer"])


def pause_status(store: Store, subscription: StripeObject, reason: str) -> None:
    """Pause a subscription for this reason."""
    with store.updating(subscription, "customer.subscription.updated", "customer.subscription.paused"):
        subscription["status"] = "paused"
        subscription["status_details"] = {
            "paused": {
                "subscription": {"type": reason},
                "transitioned_at": store.now(),
                "type": "subscription",
            }
        }
    refresh_entitlements(store, subscription["customer"])


def _stop_collecting(store: Store, subscription: StripeObject) -> None:
    """Void the open invoice of a subscription that has never been paid; collect no other by itself."""
    for invoice in store.where("invoice", customer=subscription["customer"]):
        if subscription_of(store, invoice) is not subscription or invoice["status"] not in {"draft", "open"}:
            continue
        if subscription["status"] == "incomplete" and invoice["status"] == "open":
            void(store, invoice)
        else:
            with store.updating(invoice, "invoice.updated"):
                invoice.update(_NOT_COLLECTED)


def end_subscription(
    store: Store, subscription: StripeObject, reason: str, details: Params | None = None
) -> None:
    """End a subscription for good; its open invoices are no longer collected by themselves."""
    now = store.now()
    _stop_collecting(store, subscription)
    subscription |= {
        "status": "incomplete_expired" if reason == "expired" else "canceled",
        "ended_at": now,
        "canceled_at": subscription["canceled_at"] or now,
        "status_details": None,
    }
    subscription["cancellation_details"] = {
        **subscription["cancellation_details"],
        **(details or {}),
        "reason": "payment_failed" if reason == "payment_failed" else "cancellation_requested",
    }
    if reason == "expired":
        store.emit("customer.subscription.updated", subscription, {"status": "incomplete"})
    else:
        store.emit("customer.subscription.deleted", subscription)
    refresh_entitlements(store, subscription["customer"])
