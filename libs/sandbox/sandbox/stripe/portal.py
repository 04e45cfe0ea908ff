"""The customer portal: its configurations and sessions."""

from typing import Any

from sandbox.stripe.errors import StripeError, missing_param
from sandbox.stripe.lists import matches, page
from sandbox.stripe.objects import Params, StripeObject, assign, new_id, new_object
from sandbox.stripe.operations import Operation
from sandbox.stripe.store import Store

CONFIGURATION, SESSION = "billing_portal.configuration", "billing_portal.session"
_FEATURES: dict[str, StripeObject] = {
    "customer_update": {"allowed_updates": [], "enabled": False},
    "invoice_history": {"enabled": False},
    "payment_method_update": {"enabled": False, "payment_method_configuration": None},
    "subscription_cancel": {
        "cancellation_reason": {"enabled": False, "options": []},
        "enabled": False,
        "mode": "at_period_end",
        "proration_behavior": "none",
    },
    "subscription_pause": {"duration": {"interval_options": [], "type": "indefinite"}, "enabled": False},
    "subscription_update": {
        "billing_cycle_anchor": None,
        "default_allowed_updates": [],
        "enabled": False,
        "products": None,
        "proration_behavior": "none",
        "schedule_at_period_end": {"conditions": []},
        "trial_update_behavior": "end_trial",
    },
}
_SUPPORTED = (
    "business_profile default_return_url name features.customer_update features.invoice_history "
    "features.payment_method_update features.subscription_cancel "
    "features.subscription_update login_page.enabled"
)


_NEW_CONFIGURATION: StripeObject = {
    "object": CONFIGURATION,
    "active": True,
    "application": None,
    "business_profile": {"headline": None, "privacy_policy_url": None, "terms_of_service_url": None},
    "default_return_url": None,
    "livemode": False,
    "features": _FEATURES,
    "login_page": {"enabled": False, "url": None},
    "metadata": {},
    "name": None,
}


def create_configuration(store: Store, params: Params) -> StripeObject:
    """Create a configuration; the first is the default."""
    configuration = new_object(
        _NEW_CONFIGURATION,
        id=new_id("bpc"),
        created=store.now(),
        is_default=not store.table(CONFIGURATION),
        updated=store.now(),
    )
    _apply(configuration, params)
    return store.insert(configuration, "billing_portal.configuration.created")


def _apply(configuration: StripeObject, params: Params) -> None:
    assign(configuration, params, "active", "default_return_url", "name")
    for name, change in params.get("features", {}).items():
        configuration["features"][name] |= change
    configuration["business_profile"] |= params.get("business_profile", {})
    configuration["login_page"] |= params.get("login_page", {})


def update_configuration(store: Store, params: Params, configuration_id: str) -> StripeObject:
    """Change a configuration."""
    configuration = store.get(CONFIGURATION, configuration_id, in_path=True)
    if configuration["is_default"] and params.get("active") is False:
        raise StripeError("The default configuration cannot be deactivated.", param="active")
    with store.updating(configuration, "billing_portal.configuration.updated"):
        _apply(configuration, params)
        configuration["updated"] = store.now()
    return configuration


def retrieve_configuration(store: Store, _: Params, configuration_id: str) -> StripeObject:
    """Return a configuration."""
    return store.get(CONFIGURATION, configuration_id, in_path=True)


def list_configurations(store: Store, params: Params) -> StripeObject:
    """List configurations."""
    found = [
        each for each in store.table(CONFIGURATION).values() if matches(each, params, "active", "is_default")
    ]
    return page(found, params, "/v1/billing_portal/configurations")


_NEW_SESSION: StripeObject = {"object": SESSION, "livemode": False, "on_behalf_of": None}


def create_session(store: Store, params: Params) -> StripeObject:
    """Create a session; its URL is a page of the sandbox."""
    if "customer" not in params:
        raise missing_param("customer")
    customer = store.get("customer", params["customer"], "customer")
    configuration = _configuration(store, params)
    session_id = new_id("bps")
    session = new_object(
        _NEW_SESSION,
        id=session_id,
        configuration=configuration["id"],
        created=store.now(),
        customer=customer["id"],
        flow=_flow(store, params.get("flow_data")),
        locale=params.get("locale"),
        return_url=params.get("return_url", configuration["default_return_url"]),
        url=f"{store.context.base_url}/pages/portal/{session_id}",
    )
    return store.insert(session, "billing_portal.session.created")


def _configuration(store: Store, params: Params) -> StripeObject:
    if "configuration" in params:
        return store.get(CONFIGURATION, params["configuration"], "configuration")
    if defaults := store.where(CONFIGURATION, is_default=True):
        return defaults[0]
    message = (
        "No configuration provided and your test mode default configuration has not been created. "
        "Provide a configuration or create your default."
    )
    raise StripeError(message)


def _flow(store: Store, data: Any) -> StripeObject | None:
    if data is None:
        return None
    kind = data["type"]
    if kind == "subscription_cancel":
        store.get("subscription", data[kind]["subscription"], f"flow_data[{kind}][subscription]")
    members = ("subscription_cancel", "subscription_update", "subscription_update_confirm")
    return {"after_completion": {"type": "portal_homepage"}, **dict.fromkeys(members), **data}


_PATH = "/v1/billing_portal/configurations"
OPERATIONS = [
    Operation("POST", _PATH, create_configuration, "billing_portal.configuration_create", _SUPPORTED),
    Operation("GET", _PATH, list_configurations, "billing_portal.configuration_list"),
    Operation("GET", f"{_PATH}/{{id}}", retrieve_configuration, "billing_portal.configuration_retrieve"),
    Operation(
        "POST",
        f"{_PATH}/{{id}}",
        update_configuration,
        "billing_portal.configuration_update",
        f"active {_SUPPORTED}",
    ),
    Operation(
        "POST",
        "/v1/billing_portal/sessions",
        create_session,
        "billing_portal.session_create",
        "configuration customer flow_data.type flow_data.subscription_cancel.subscription locale return_url",
    ),
]
