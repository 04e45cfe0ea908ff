"""Event destinations of API v2: webhook endpoints that get snapshots or thin events."""

from sandbox.stripe.errors import missing_param, not_supported
from sandbox.stripe.objects import (
    API_VERSION,
    Params,
    StripeObject,
    assign,
    new_id,
    new_object,
)
from sandbox.stripe.operations import Operation
from sandbox.stripe.store import Store
from sandbox.stripe.thin_events import iso, thin_event, v2_page

KIND = "v2.core.event_destination"


_NEW_DESTINATION: StripeObject = {
    "object": KIND,
    "amazon_eventbridge": None,
    "azure_event_grid": None,
    "events_from": ["@self"],
    "livemode": False,
    "metadata": {},
    "status": "enabled",
    "status_details": None,
    "type": "webhook_endpoint",
    "webhook_endpoint": None,
}


def create_destination(store: Store, params: Params) -> StripeObject:
    """Create a destination; its secret is in the answer only if asked for."""
    _check(params)
    is_snapshot = params["event_payload"] == "snapshot"
    destination = new_object(
        _NEW_DESTINATION,
        id=new_id("ed_test"),
        _secret="whsec_" + new_id("s", 32)[2:],
        _url=params["webhook_endpoint"]["url"],
        created=iso(store.now()),
        description=params.get("description", ""),
        snapshot_api_version=API_VERSION if is_snapshot else None,
        updated=iso(store.now()),
    )
    assign(destination, params, "enabled_events", "event_payload", "events_from", "name")
    return _present(store.insert(destination), params)


def _check(params: Params) -> None:
    if params["type"] != "webhook_endpoint":
        raise not_supported(f"destinations of type {params['type']}", "type")
    if "webhook_endpoint" not in params:
        raise missing_param("webhook_endpoint")
    if params.get("snapshot_api_version", API_VERSION) != API_VERSION:
        raise not_supported(f"API versions other than {API_VERSION}", "snapshot_api_version")


def _present(destination: StripeObject, params: Params) -> StripeObject:
    include = params.get("include", [])
    webhook = {
        name: destination[member]
        for name, member in (("signing_secret", "_secret"), ("url", "_url"))
        if f"webhook_endpoint.{name}" in include
    }
    return {**destination, "webhook_endpoint": webhook or None}


def _get(store: Store, destination_id: str) -> StripeObject:
    return store.get(KIND, destination_id, in_path=True)


def update_destination(store: Store, params: Params, destination_id: str) -> StripeObject:
    """Change a destination."""
    destination = _get(store, destination_id)
    with store.updating(destination):
        assign(destination, params, "description", "enabled_events", "name")
        if "webhook_endpoint" in params:
            destination["_url"] = params["webhook_endpoint"]["url"]
        destination["updated"] = iso(store.now())
    return _present(destination, params)


def retrieve_destination(store: Store, params: Params, destination_id: str) -> StripeObject:
    """Return a destination."""
    return _present(_get(store, destination_id), params)


def list_destinations(store: Store, params: Params) -> StripeObject:
    """List destinations."""
    destinations = [_present(each, params) for each in store.table(KIND).values()]
    return v2_page(destinations, params, "/v2/core/event_destinations")


def delete_destination(store: Store, _: Params, destination_id: str) -> StripeObject:
    """Delete a destination."""
    _get(store, destination_id)
    del store.table(KIND)[destination_id]
    return {"id": destination_id, "object": KIND, "deleted": True}


def _set_status(store: Store, destination_id: str, status: str) -> StripeObject:
    destination = _get(store, destination_id)
    with store.updating(destination):
        destination["status"] = status
    return _present(destination, {})


def enable_destination(store: Store, _: Params, destination_id: str) -> StripeObject:
    """Deliver to a destination again."""
    return _set_status(store, destination_id, "enabled")


def disable_destination(store: Store, _: Params, destination_id: str) -> StripeObject:
    """Deliver to a destination no longer."""
    return _set_status(store, destination_id, "disabled")


def ping_destination(store: Store, _: Params, destination_id: str) -> StripeObject:
    """Send an event that tests a destination."""
    _get(store, destination_id)
    ping = store.insert(thin_event(store, "v2.core.event_destination.ping", None, None))
    ping["related_object"] = {
        "id": destination_id,
        "type": KIND,
        "url": f"/v2/core/event_destinations/{destination_id}",
    }
    store.announce(ping)
    return ping


_PATH = "/v2/core/event_destinations"
OPERATIONS = [
    Operation("POST", _PATH, create_destination, "v2.core.event_destination_create"),
    Operation("GET", _PATH, list_destinations, "v2.core.event_destination_list"),
    Operation("GET", f"{_PATH}/{{id}}", retrieve_destination, "v2.core.event_destination_retrieve"),
    Operation("POST", f"{_PATH}/{{id}}", update_destination, "v2.core.event_destination_update"),
    Operation("DELETE", f"{_PATH}/{{id}}", delete_destination, "v2.core.event_destination_delete"),
    Operation("POST", f"{_PATH}/{{id}}/enable", enable_destination, "v2.core.event_destination_enable"),
    Operation("POST", f"{_PATH}/{{id}}/disable", disable_destination, "v2.core.event_destination_disable"),
    Operation("POST", f"{_PATH}/{{id}}/ping", ping_destination, "v2.core.event_destination_ping"),
]
