"""Events: what has happened in the last 30 days."""

from fnmatch import fnmatchcase

from sandbox.stripe.errors import StripeError
from sandbox.stripe.lists import in_range, page
from sandbox.stripe.objects import Params, StripeObject
from sandbox.stripe.operations import Operation
from sandbox.stripe.store import EVENT_RETENTION, Store

_MAX_TYPES = 20


def retrieve_event(store: Store, _: Params, event_id: str) -> StripeObject:
    """Return an event."""
    return store.get("event", event_id, in_path=True)


def list_events(store: Store, params: Params) -> StripeObject:
    """List events by type, time and whether their deliveries succeeded."""
    if "type" in params and "types" in params:
        message = "You may only specify one of these parameters: type, types."
        raise StripeError(message, "parameters_exclusive")
    if len(params.get("types", [])) > _MAX_TYPES:
        raise StripeError(f"You can list at most {_MAX_TYPES} types.", param="types")
    oldest = store.now() - EVENT_RETENTION
    events = [
        event
        for event in store.table("event").values()
        if event["created"] >= oldest
        and fnmatchcase(event["type"], params.get("type", "*"))
        and event["type"] in params.get("types", [event["type"]])
        and in_range(event["created"], params.get("created"))
        and params.get("delivery_success", _is_delivered(event)) == _is_delivered(event)
    ]
    return page(events, params, "/v1/events", store.table("event").values())


def _is_delivered(event: StripeObject) -> bool:
    return bool(event["pending_webhooks"] == 0)


OPERATIONS = [
    Operation("GET", "/v1/events", list_events, "event_list"),
    Operation("GET", "/v1/events/{id}", retrieve_event, "event_retrieve"),
]
