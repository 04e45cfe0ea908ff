"""Meters: what is counted, and how it is aggregated."""

from sandbox.stripe.errors import StripeError
from sandbox.stripe.lists import matches, page
from sandbox.stripe.meter_usage import EMPTY, aggregate, events_of
from sandbox.stripe.objects import Params, StripeObject, assign, new_id, new_object
from sandbox.stripe.operations import Operation
from sandbox.stripe.store import Store

KIND = "billing.meter"
_MEMBERS = (
    "customer_mapping",
    "default_aggregation",
    "display_name",
    "event_name",
    "event_time_window",
    "value_settings",
)
_NEW_METER: StripeObject = {
    "object": KIND,
    "customer_mapping": {"event_payload_key": "stripe_customer_id", "type": "by_id"},
    "event_time_window": None,
    "livemode": False,
    "status": "active",
    "status_transitions": {"deactivated_at": None},
    "value_settings": {"event_payload_key": "value"},
}
_WINDOWS = {"hour": 3600, "day": 86_400}


def create_meter(store: Store, params: Params) -> StripeObject:
    """Create a meter; no other active one has its event's name."""
    if store.where(KIND, event_name=params["event_name"], status="active"):
        message = f"An active meter already exists for the event name '{params['event_name']}'."
        raise StripeError(message, "resource_already_exists", "event_name")
    meter = new_object(_NEW_METER, id=new_id("mtr_test"), created=store.now(), updated=store.now())
    assign(meter, params, *_MEMBERS)
    return store.insert(meter, "billing.meter.created")


def update_meter(store: Store, params: Params, meter_id: str) -> StripeObject:
    """Rename a meter, which is all that can change."""
    meter = store.get(KIND, meter_id, in_path=True)
    with store.updating(meter, "billing.meter.updated"):
        meter |= {"display_name": params.get("display_name", meter["display_name"]), "updated": store.now()}
    return meter


def deactivate_meter(store: Store, _: Params, meter_id: str) -> StripeObject:
    """Stop counting."""
    return _set_status(store, meter_id, "inactive", "billing.meter.deactivated")


def reactivate_meter(store: Store, _: Params, meter_id: str) -> StripeObject:
    """Count again."""
    return _set_status(store, meter_id, "active", "billing.meter.reactivated")


def _set_status(store: Store, meter_id: str, status: str, event: str) -> StripeObject:
    meter = store.get(KIND, meter_id, in_path=True)
    if meter["status"] == status:
        raise StripeError(f"The meter is already {status}.", param="id")
    with store.updating(meter, event):
        meter |= {"status": status, "updated": store.now()}
        meter["status_transitions"]["deactivated_at"] = store.now() if status == "inactive" else None
    return meter


def retrieve_meter(store: Store, _: Params, meter_id: str) -> StripeObject:
    """Return a meter."""
    return store.get(KIND, meter_id, in_path=True)


def list_meters(store: Store, params: Params) -> StripeObject:
    """List meters."""
    meters = [meter for meter in store.table(KIND).values() if matches(meter, params, "status")]
    return page(meters, params, "/v1/billing/meters")


def list_summaries(store: Store, params: Params, meter_id: str) -> StripeObject:
    """List a customer's usage in a time: as one summary, or one for each hour or day that has any."""
    meter = store.get(KIND, meter_id, in_path=True)
    customer = store.get("customer", params["customer"], "customer")
    start, end = params["start_time"], params["end_time"]
    width = _WINDOWS.get(params.get("value_grouping_window", ""))
    _check_bounds(start, end, width or 60)
    events = [
        event for event in events_of(store, meter_id, customer["id"]) if start <= event["timestamp"] < end
    ]
    windows = range(start, end, width) if width else [start]
    summaries = [
        _summary(meter, window, min(window + width, end) if width else end, events) for window in windows
    ]
    if width:
        summaries = [each for each in summaries if each["_count"]]
    return page(summaries, params, f"/v1/billing/meters/{meter_id}/event_summaries")


def _check_bounds(start: int, end: int, width: int) -> None:
    for name, moment in (("start_time", start), ("end_time", end)):
        if moment % width:
            unit = {60: "minute", 3600: "hour", 86_400: "UTC day"}[width]
            raise StripeError(f"{name} must align with {unit} boundaries.", param=name)
    if start >= end:
        raise StripeError("start_time must be before end_time.", param="end_time")


def _summary(meter: StripeObject, start: int, end: int, events: list[StripeObject]) -> StripeObject:
    inside = [event for event in events if start <= event["timestamp"] < end]
    value = aggregate(meter["default_aggregation"]["formula"], inside) if inside else EMPTY
    return {
        # The same window has the same id, so that lists can be read page by page.
        "id": f"mtrusg_test_{meter['id'][9:]}_{start}_{end}",
        "object": "billing.meter_event_summary",
        "_count": len(inside),
        # Stripe's documents have a number here, not a text.
        "aggregated_value": int(value) if value == value.to_integral_value() else float(value),
        "end_time": end,
        "livemode": False,
        "meter": meter["id"],
        "start_time": start,
    }


_PATH = "/v1/billing/meters"
OPERATIONS = [
    Operation(
        "POST",
        _PATH,
        create_meter,
        "billing.meter_create",
        "customer_mapping default_aggregation display_name event_name value_settings",
    ),
    Operation("GET", _PATH, list_meters, "billing.meter_list"),
    Operation("GET", f"{_PATH}/{{id}}", retrieve_meter, "billing.meter_retrieve"),
    Operation("POST", f"{_PATH}/{{id}}", update_meter, "billing.meter_update"),
    Operation("POST", f"{_PATH}/{{id}}/deactivate", deactivate_meter, "billing.meter_deactivate"),
    Operation("POST", f"{_PATH}/{{id}}/reactivate", reactivate_meter, "billing.meter_reactivate"),
    Operation("GET", f"{_PATH}/{{id}}/event_summaries", list_summaries, "billing.meter_event_summary_list"),
]
