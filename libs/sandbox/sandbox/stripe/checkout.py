"""Checkout sessions: a page on which a customer enters a card, to subscribe or to save it."""

from sandbox.stripe.checkout_items import line_items
from sandbox.stripe.customers import create_customer
from sandbox.stripe.errors import StripeError, missing_param, not_supported
from sandbox.stripe.lists import in_range, matches, page
from sandbox.stripe.objects import Params, StripeObject, assign, embedded_list, new_id, new_object
from sandbox.stripe.operations import Operation
from sandbox.stripe.payment_methods import attach
from sandbox.stripe.setup_intents import confirm_setup_intent, create_setup_intent
from sandbox.stripe.store import Store
from sandbox.stripe.subscriptions import create_subscription

KIND = "checkout.session"
_LIFETIME = 24 * 3600
_MEMBERS = (
    "cancel_url",
    "client_reference_id",
    "customer_email",
    "locale",
    "mode",
    "payment_method_collection",
    "success_url",
)
_CREATE = (
    "cancel_url client_reference_id currency customer customer_email expires_at line_items.price "
    "line_items.quantity locale mode payment_method_collection setup_intent_data.metadata "
    "setup_intent_data.description subscription_data.description subscription_data.metadata "
    "subscription_data.trial_end subscription_data.trial_period_days subscription_data.trial_settings "
    "success_url ui_mode"
)


_NO_DETAILS: StripeObject = {"address": None, "phone": None, "tax_exempt": "none", "tax_ids": []}
_NEW_SESSION: StripeObject = {
    "object": KIND,
    "after_expiration": None,
    "allow_promotion_codes": None,
    "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
    "billing_address_collection": None,
    "cancel_url": None,
    "client_reference_id": None,
    "client_secret": None,
    "consent": None,
    "custom_fields": [],
    "custom_text": {"after_submit": None, "shipping_address": None, "submit": None},
    "customer_details": None,
    "customer_email": None,
    "discounts": [],
    "invoice": None,
    "livemode": False,
    "locale": None,
    "metadata": {},
    "payment_intent": None,
    "payment_method_collection": "always",
    "payment_method_types": ["card"],
    "setup_intent": None,
    "shipping_options": [],
    "status": "open",
    "subscription": None,
    "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
    "ui_mode": "hosted_page",
}


def create_session(store: Store, params: Params) -> StripeObject:
    """Create a session; its URL is a page of the sandbox."""
    _check(params)
    customer = store.get("customer", params["customer"], "customer")["id"] if "customer" in params else None
    session_id = new_id("cs_test", 58)
    now = store.now()
    session = new_object(
        _NEW_SESSION,
        id=session_id,
        _params=params,
        created=now,
        customer=customer,
        customer_creation=None if customer else "always",
        expires_at=_expiry(params, now),
        url=f"{store.context.base_url}/pages/checkout/{session_id}",
        **_item_members(store, params),
    )
    assign(session, params, *_MEMBERS)
    if session["mode"] == "setup":
        session["setup_intent"] = _setup_intent(store, params, customer)["id"]
    return store.insert(session)


def _check(params: Params) -> None:
    mode = params.get("mode")
    if mode not in {"subscription", "setup"}:
        raise missing_param("mode") if mode is None else not_supported(f"mode={mode}", "mode")
    if params.get("ui_mode", "hosted_page") != "hosted_page":
        raise not_supported(f"ui_mode={params['ui_mode']}", "ui_mode")
    if "success_url" not in params:
        raise missing_param("success_url")
    if "customer" in params and "customer_email" in params:
        message = "You may only specify one of these parameters: customer, customer_email."
        raise StripeError(message, "parameters_exclusive")


def _item_members(store: Store, params: Params) -> StripeObject:
    items = line_items(store, params) if params["mode"] == "subscription" else []
    total = 0 if _has_trial(params) else sum(item["amount_total"] for item in items)
    return {
        "_items": items,
        "amount_subtotal": total if items else None,
        "amount_total": total if items else None,
        "currency": items[0]["currency"] if items else params.get("currency"),
        "payment_status": "unpaid" if total else "no_payment_required",
    }


def _setup_intent(store: Store, params: Params, customer: str | None) -> StripeObject:
    intent = {"usage": "off_session"} | params.get("setup_intent_data", {})
    return create_setup_intent(store, intent | ({"customer": customer} if customer else {}))


def _expiry(params: Params, now: int) -> int:
    expires_at = int(params.get("expires_at", now + _LIFETIME))
    if not now + 30 * 60 <= expires_at <= now + _LIFETIME:
        raise StripeError("expires_at must be 30 minutes to 24 hours from now.", param="expires_at")
    return expires_at


def _has_trial(params: Params) -> bool:
    data = params.get("subscription_data", {})
    return bool(data.get("trial_period_days") or data.get("trial_end"))


def complete(store: Store, session_id: str, card: str = "pm_card_visa") -> StripeObject:
    """Do what a customer does on the page: enter a card and confirm. 402 if the card refuses."""
    session = _get_open(store, session_id)
    customer = _customer_of(store, session)
    needs_card = session["payment_method_collection"] == "always" or session["amount_total"]
    method = attach(store, card, customer, "payment_method") if needs_card else None
    results = (
        _set_up(store, session, method["id"] if method else card)
        if session["mode"] == "setup"
        else _subscribe(store, session, customer, method)
    )
    session |= results | {
        "customer": customer["id"],
        "customer_details": _NO_DETAILS | {"email": customer["email"], "name": customer["name"]},
        "status": "complete",
        "url": None,
    }
    store.emit("checkout.session.completed", session)
    return session


def _customer_of(store: Store, session: StripeObject) -> StripeObject:
    if session["customer"]:
        return store.get("customer", session["customer"], "customer")
    customer = create_customer(store, {"email": session["customer_email"] or "customer@example.com"})
    session["customer"] = customer["id"]
    if session["setup_intent"]:
        store.table("setup_intent")[session["setup_intent"]]["customer"] = customer["id"]
    return customer


def _set_up(store: Store, session: StripeObject, card: str) -> StripeObject:
    confirm_setup_intent(store, {"payment_method": card}, session["setup_intent"])
    return {"payment_status": "no_payment_required"}


def _subscribe(
    store: Store, session: StripeObject, customer: StripeObject, method: StripeObject | None
) -> StripeObject:
    subscription_data = session["_params"].get("subscription_data", {})
    items = [
        {"price": item["price"]["id"]} | ({} if item["quantity"] is None else {"quantity": item["quantity"]})
        for item in session["_items"]
    ]
    params = {
        **subscription_data,
        "customer": customer["id"],
        "items": items,
        "payment_behavior": "error_if_incomplete",
    }
    if method:
        params["default_payment_method"] = method["id"]
    subscription = create_subscription(store, params)
    return {
        "subscription": subscription["id"],
        "invoice": subscription["latest_invoice"],
        "payment_status": "paid" if session["amount_total"] else "no_payment_required",
    }


def _get_open(store: Store, session_id: str) -> StripeObject:
    session = store.get(KIND, session_id, in_path=True)
    if session["status"] != "open":
        message = f"This Session is {session['status']}; only an open one can be completed or expired."
        raise StripeError(message, param="session")
    return session


def expire_session(store: Store, _: Params, session_id: str) -> StripeObject:
    """Expire an open session."""
    return expire(store, _get_open(store, session_id))


def expire(store: Store, session: StripeObject) -> StripeObject:
    """Mark a session as expired."""
    session |= {"status": "expired", "url": None}
    store.touch()
    store.emit("checkout.session.expired", session)
    return session


def retrieve_session(store: Store, _: Params, session_id: str) -> StripeObject:
    """Return a session."""
    return store.get(KIND, session_id, in_path=True)


def list_sessions(store: Store, params: Params) -> StripeObject:
    """List sessions."""
    sessions = [
        session
        for session in store.table(KIND).values()
        if matches(session, params, "customer", "status", "subscription")
        and in_range(session["created"], params.get("created"))
    ]
    return page(sessions, params, "/v1/checkout/sessions")


def list_items(store: Store, params: Params, session_id: str) -> StripeObject:
    """List what is bought."""
    items = store.get(KIND, session_id, in_path=True)["_items"]
    return page(items[::-1], params, f"/v1/checkout/sessions/{session_id}/line_items")


def line_items_of(store: Store, session: StripeObject) -> StripeObject:
    """Return what is bought, for `expand[]=line_items`."""
    items = store.table(KIND)[session["id"]]["_items"]
    return embedded_list(f"/v1/checkout/sessions/{session['id']}/line_items", items)


_PATH = "/v1/checkout/sessions"
OPERATIONS = [
    Operation("POST", _PATH, create_session, "checkout.session_create", _CREATE),
    Operation(
        "GET",
        _PATH,
        list_sessions,
        "checkout.session_list",
        "created customer ending_before limit starting_after status subscription",
    ),
    Operation("GET", f"{_PATH}/{{id}}", retrieve_session, "checkout.session_retrieve"),
    Operation("POST", f"{_PATH}/{{id}}/expire", expire_session, "checkout.session_expire"),
    Operation("GET", f"{_PATH}/{{id}}/line_items", list_items, "checkout.session_line_item_list"),
]
