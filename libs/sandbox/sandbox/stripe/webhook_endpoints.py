"""Webhook endpoints: where events go."""

from urllib.parse import urlsplit

from sandbox.stripe.errors import StripeError
from sandbox.stripe.lists import page
from sandbox.stripe.objects import API_VERSION, Params, StripeObject, assign, new_id, new_object
from sandbox.stripe.operations import Operation
from sandbox.stripe.store import Store

_MAX_ENDPOINTS = 16
_NEW_ENDPOINT: StripeObject = {
    "object": "webhook_endpoint",
    "api_version": None,
    "application": None,
    "description": None,
    "livemode": False,
    "metadata": {},
    "status": "enabled",
}


def create_webhook_endpoint(store: Store, params: Params) -> StripeObject:
    """Create an endpoint; only this answer contains its secret."""
    _check(params)
    if len(store.table("webhook_endpoint")) >= _MAX_ENDPOINTS:
        raise StripeError(f"You have reached the maximum of {_MAX_ENDPOINTS} test webhook endpoints.")
    secret = "whsec_" + new_id("s", 32)[2:]
    endpoint = new_object(_NEW_ENDPOINT, id=new_id("we"), _secret=secret, created=store.now())
    assign(endpoint, params, "api_version", "description", "enabled_events", "url")
    return {**store.insert(endpoint), "secret": secret}


def _check(params: Params) -> None:
    address = urlsplit(params.get("url", "http://localhost"))
    # Stripe's test mode wants a public address; here, the receiver is on this machine.
    if address.scheme not in {"http", "https"} or not address.hostname:
        raise StripeError(
            "Invalid URL: An explicit scheme (such as https) must be provided.", "url_invalid", "url"
        )
    if params.get("enabled_events") == []:
        raise StripeError("Invalid array: enabled_events", "parameter_invalid_empty", "enabled_events")
    if params.get("api_version", API_VERSION) != API_VERSION:
        message = f"The Stripe sandbox speaks {API_VERSION} only."
        raise StripeError(message, "not_supported_by_sandbox", "api_version")


def update_webhook_endpoint(store: Store, params: Params, endpoint_id: str) -> StripeObject:
    """Change or disable an endpoint."""
    endpoint = store.get("webhook_endpoint", endpoint_id, "webhook_endpoint", in_path=True)
    _check(params)
    with store.updating(endpoint):
        assign(endpoint, params, "url", "enabled_events", "description")
        if "disabled" in params:
            endpoint["status"] = "disabled" if params["disabled"] else "enabled"
    return endpoint


def retrieve_webhook_endpoint(store: Store, _: Params, endpoint_id: str) -> StripeObject:
    """Return an endpoint."""
    return store.get("webhook_endpoint", endpoint_id, "webhook_endpoint", in_path=True)


def list_webhook_endpoints(store: Store, params: Params) -> StripeObject:
    """List endpoints."""
    return page(list(store.table("webhook_endpoint").values()), params, "/v1/webhook_endpoints")


def delete_webhook_endpoint(store: Store, _: Params, endpoint_id: str) -> StripeObject:
    """Delete an endpoint."""
    store.get("webhook_endpoint", endpoint_id, "webhook_endpoint", in_path=True)
    del store.table("webhook_endpoint")[endpoint_id]
    store.touch()
    return {"id": endpoint_id, "object": "webhook_endpoint", "deleted": True}


OPERATIONS = [
    Operation(
        "POST",
        "/v1/webhook_endpoints",
        create_webhook_endpoint,
        "webhook_endpoint_create",
        "api_version description enabled_events url",
    ),
    Operation("GET", "/v1/webhook_endpoints", list_webhook_endpoints, "webhook_endpoint_list"),
    Operation("GET", "/v1/webhook_endpoints/{id}", retrieve_webhook_endpoint, "webhook_endpoint_retrieve"),
    Operation("POST", "/v1/webhook_endpoints/{id}", update_webhook_endpoint, "webhook_endpoint_update"),
    Operation("DELETE", "/v1/webhook_endpoints/{id}", delete_webhook_endpoint, "webhook_endpoint_delete"),
]
