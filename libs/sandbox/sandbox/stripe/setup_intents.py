"""Setup intents: a card is saved for later payments."""

from sandbox.stripe.errors import StripeError
from sandbox.stripe.lists import in_range, matches, page
from sandbox.stripe.objects import Params, StripeObject, assign, new_id, new_object
from sandbox.stripe.operations import Operation
from sandbox.stripe.payment_methods import attach, find_method
from sandbox.stripe.store import Store

_SUPPORTED = "automatic_payment_methods confirm customer description payment_method return_url usage"


_NEW_INTENT: StripeObject = {
    "object": "setup_intent",
    "application": None,
    "automatic_payment_methods": {"enabled": True},
    "cancellation_reason": None,
    "customer": None,
    "description": None,
    "last_setup_error": None,
    "latest_attempt": None,
    "livemode": False,
    "mandate": None,
    "metadata": {},
    "next_action": None,
    "payment_method": None,
    "payment_method_types": ["card"],
    "status": "requires_payment_method",
    "usage": "off_session",
}


def create_setup_intent(store: Store, params: Params) -> StripeObject:
    """Create a setup intent, and confirm it if asked to."""
    if "customer" in params:
        store.get("customer", params["customer"], "customer")
    intent_id = new_id("seti")
    intent = new_object(
        _NEW_INTENT,
        id=intent_id,
        client_secret=f"{intent_id}_secret_{new_id('s')[2:]}",
        created=store.now(),
    )
    assign(intent, params, "automatic_payment_methods", "customer", "description", "usage")
    if name := params.get("payment_method"):
        intent["payment_method"] = find_method(store, name, "payment_method")["id"]
        intent["status"] = "requires_confirmation"
    store.insert(intent, "setup_intent.created")
    return _succeed(store, intent) if params.get("confirm") else intent


def confirm_setup_intent(store: Store, params: Params, intent_id: str) -> StripeObject:
    """Save the card."""
    intent = store.get("setup_intent", intent_id, "intent", in_path=True)
    if name := params.get("payment_method"):
        intent["payment_method"] = find_method(store, name, "payment_method")["id"]
    return _succeed(store, intent)


def _succeed(store: Store, intent: StripeObject) -> StripeObject:
    if intent["status"] not in {"requires_payment_method", "requires_confirmation"}:
        message = f"You cannot confirm this SetupIntent because it has a status of {intent['status']}."
        raise StripeError(message, "setup_intent_unexpected_state")
    if not intent["payment_method"]:
        raise StripeError(
            "You cannot confirm this SetupIntent because it's missing a payment method.",
            "setup_intent_unexpected_state",
        )
    if intent["customer"]:
        attach(store, intent["payment_method"], store.get("customer", intent["customer"]), "payment_method")
    with store.updating(intent, "setup_intent.succeeded"):
        intent["status"] = "succeeded"
    return intent


def cancel_setup_intent(store: Store, params: Params, intent_id: str) -> StripeObject:
    """Cancel a setup intent that has not succeeded."""
    intent = store.get("setup_intent", intent_id, "intent", in_path=True)
    if intent["status"] in {"succeeded", "canceled"}:
        message = f"You cannot cancel this SetupIntent because it has a status of {intent['status']}."
        raise StripeError(message, "setup_intent_unexpected_state")
    with store.updating(intent, "setup_intent.canceled"):
        intent |= {"status": "canceled", "cancellation_reason": params.get("cancellation_reason")}
    return intent


def retrieve_setup_intent(store: Store, _: Params, intent_id: str) -> StripeObject:
    """Return a setup intent."""
    return store.get("setup_intent", intent_id, "intent", in_path=True)


def list_setup_intents(store: Store, params: Params) -> StripeObject:
    """List setup intents."""
    intents = [
        intent
        for intent in store.table("setup_intent").values()
        if matches(intent, params, "customer", "payment_method")
        and in_range(intent["created"], params.get("created"))
    ]
    return page(intents, params, "/v1/setup_intents")


OPERATIONS = [
    Operation("POST", "/v1/setup_intents", create_setup_intent, "setup_intent_create", _SUPPORTED),
    Operation(
        "GET",
        "/v1/setup_intents",
        list_setup_intents,
        "setup_intent_list",
        "customer created payment_method limit starting_after ending_before",
    ),
    Operation("GET", "/v1/setup_intents/{id}", retrieve_setup_intent, "setup_intent_retrieve"),
    Operation(
        "POST",
        "/v1/setup_intents/{id}/confirm",
        confirm_setup_intent,
        "setup_intent_confirm",
        "payment_method return_url",
    ),
    Operation("POST", "/v1/setup_intents/{id}/cancel", cancel_setup_intent, "setup_intent_cancel"),
]
