"""When a subscription is to end by itself."""

from typing import Any

from sandbox.stripe.billing import period_of
from sandbox.stripe.errors import StripeError, not_supported
from sandbox.stripe.objects import Params, StripeObject
from sandbox.stripe.store import Store


def _cancel_at(store: Store, params: Params) -> Any:
    if "cancel_at" in params and params.get("cancel_at_period_end"):
        message = "You may only specify one of these parameters: cancel_at, cancel_at_period_end."
        raise StripeError(message, "parameters_exclusive")
    cancel_at = params.get("cancel_at")
    if isinstance(cancel_at, str) and cancel_at:
        raise not_supported(f"cancel_at={cancel_at}", "cancel_at")
    if cancel_at and cancel_at <= store.now():
        raise StripeError("cancel_at must be in the future.", param="cancel_at")
    return cancel_at


def set_cancellation(store: Store, subscription: StripeObject, params: Params) -> None:
    """Set when a subscription ends by itself, or that it does not."""
    cancel_at = _cancel_at(store, params)
    if "cancel_at_period_end" in params:
        cancel_at = period_of(subscription)[1] if params["cancel_at_period_end"] else None
        subscription["cancel_at_period_end"] = params["cancel_at_period_end"]
    elif "cancel_at" in params:
        subscription["cancel_at_period_end"] = False
    else:
        return
    subscription["cancel_at"] = cancel_at or None
    subscription["canceled_at"] = (subscription["canceled_at"] or store.now()) if cancel_at else None
    subscription["cancellation_details"]["reason"] = "cancellation_requested" if cancel_at else None
