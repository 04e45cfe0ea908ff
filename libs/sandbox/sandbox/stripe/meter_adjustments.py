"""Adjustments: meter events that were wrong are canceled within a day."""

from sandbox.stripe.errors import StripeError, missing_object
from sandbox.stripe.objects import Params, StripeObject, new_id
from sandbox.stripe.operations import Operation
from sandbox.stripe.store import Store
from sandbox.stripe.thin_events import iso

_DAY = 24 * 3600


def _cancel(store: Store, params: Params) -> str:
    identifier = str(params.get("cancel", {}).get("identifier", ""))
    event = store.identifiers.get(identifier)
    if event is None or event["event_name"] != params["event_name"]:
        raise missing_object("meter event", identifier, "cancel[identifier]")
    if event["canceled"]:
        message = "This meter event was already canceled."
        raise StripeError(message, "meter_event_already_canceled", "cancel[identifier]")
    if event["received"] <= store.now() - _DAY:
        message = "A meter event can be canceled within 24 hours of being received."
        raise StripeError(message, "meter_event_too_old_to_cancel", "cancel[identifier]")
    event["canceled"] = True
    store.touch()
    return identifier


def create_adjustment(store: Store, params: Params) -> StripeObject:
    """Cancel an event by API v1."""
    identifier = _cancel(store, params)
    return {
        "object": "billing.meter_event_adjustment",
        "cancel": {"identifier": identifier},
        "event_name": params["event_name"],
        "livemode": False,
        "status": "complete",
        "type": "cancel",
    }


def create_v2_adjustment(store: Store, params: Params) -> StripeObject:
    """Cancel an event by API v2."""
    identifier = _cancel(store, params)
    return {
        "id": new_id("mea_test"),
        "object": "v2.billing.meter_event_adjustment",
        "cancel": {"identifier": identifier},
        "created": iso(store.now()),
        "event_name": params["event_name"],
        "livemode": False,
        "status": "complete",
        "type": "cancel",
    }


_V2 = "v2.billing.meter_event_adjustment"
OPERATIONS = [
    Operation(
        "POST",
        "/v1/billing/meter_event_adjustments",
        create_adjustment,
        "billing.meter_event_adjustment_create",
    ),
    Operation("POST", "/v2/billing/meter_event_adjustments", create_v2_adjustment, f"{_V2}_create"),
]
