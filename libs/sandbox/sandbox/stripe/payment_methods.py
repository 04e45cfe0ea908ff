"""Payment methods: Stripe's test cards by name (pm_card_visa and the like), attached to customers."""

from dataclasses import dataclass

from sandbox.stripe.errors import StripeError, card_error, missing_object
from sandbox.stripe.lists import matches, page
from sandbox.stripe.objects import Params, StripeObject, assign, new_id, new_object
from sandbox.stripe.operations import Operation
from sandbox.stripe.store import Store


@dataclass(frozen=True)
class TestCard:
    """One of Stripe's test cards, and what it does."""

    brand: str
    last4: str
    on_attach: str | None = None  # the code of the error
    on_charge: str | None = None


CARDS = {
    "pm_card_visa": TestCard("visa", "4242"),
    "pm_card_visa_debit": TestCard("visa", "5556"),
    "pm_card_mastercard": TestCard("mastercard", "4444"),
    "pm_card_amex": TestCard("amex", "8431"),
    "pm_card_chargeCustomerFail": TestCard("visa", "0341", on_charge="card_declined"),
    "pm_card_authenticationRequired": TestCard("visa", "3184", on_charge="authentication_required"),
    "pm_card_authenticationRequiredOnSetup": TestCard("visa", "3155", on_charge="authentication_required"),
    "pm_card_threeDSecure2Required": TestCard("visa", "3220", on_charge="authentication_required"),
    "pm_card_chargeDeclined": TestCard("visa", "0002", "card_declined", "card_declined"),
    "pm_card_chargeDeclinedExpiredCard": TestCard("visa", "0069", "expired_card", "expired_card"),
    "pm_card_chargeDeclinedInsufficientFunds": TestCard("visa", "9995", "card_declined", "card_declined"),
}
# Numbers that tests type; Stripe's test mode takes them too.
_TOKENS = {"tok_visa": "pm_card_visa", "tok_chargeCustomerFail": "pm_card_chargeCustomerFail"}
_MESSAGES = {
    "card_declined": "Your card was declined.",
    "expired_card": "Your card has expired.",
    "authentication_required": "Your card was declined. This transaction requires authentication.",
}


def decline(code: str) -> StripeError:
    """Return the error of a card that refuses."""
    return card_error(_MESSAGES[code], code, "generic_decline" if code == "card_declined" else code)


_NEW_METHOD: StripeObject = {
    "object": "payment_method",
    "allow_redisplay": "unspecified",
    "billing_details": {"address": None, "email": None, "name": None, "phone": None, "tax_id": None},
    "customer": None,
    "livemode": False,
    "metadata": {},
    "type": "card",
}
_NEW_CARD: StripeObject = {
    "checks": {
        "address_line1_check": None,
        "address_postal_code_check": None,
        "cvc_check": "pass",
    },
    "country": "US",
    "exp_month": 12,
    "exp_year": 2040,
    "generated_from": None,
    "three_d_secure_usage": {"supported": True},
    "wallet": None,
}


def _make(store: Store, card: TestCard, name: str, params: Params) -> StripeObject:
    method = new_object(_NEW_METHOD, id=new_id("pm"), _card=name, created=store.now())
    method["card"] = new_object(
        _NEW_CARD,
        brand=card.brand,
        display_brand=card.brand,
        fingerprint=new_id("f", 16)[2:],
        funding="debit" if name.endswith("debit") else "credit",
        last4=card.last4,
        networks={"available": [card.brand], "preferred": None},
    )
    method["billing_details"] |= params.get("billing_details", {})
    assign(method, params, "allow_redisplay")
    return store.insert(method)


def create_payment_method(store: Store, params: Params) -> StripeObject:
    """Create a card from one of Stripe's test tokens; numbers are refused, as Stripe does by default."""
    if params.get("type") != "card" or "token" not in params.get("card", {}):
        raise StripeError(
            "The Stripe sandbox creates payment methods from card[token] only, such as tok_visa.",
            "not_supported_by_sandbox",
            "card",
        )
    token = params["card"]["token"]
    name = _TOKENS.get(token) or token.replace("tok_", "pm_card_", 1)
    if name not in CARDS:
        raise missing_object("token", token, "card[token]")
    return _make(store, CARDS[name], name, params)


def find_method(store: Store, name: str, param: str, *, in_path: bool = False) -> StripeObject:
    """Return a payment method; a test card's name makes a new one, as at Stripe."""
    if name in CARDS:
        return _make(store, CARDS[name], name, {})
    return store.get("payment_method", name, param, in_path=in_path)


def attach(
    store: Store, name: str, customer: StripeObject, param: str, *, in_path: bool = False
) -> StripeObject:
    """Attach a card to a customer, unless the card refuses or is another's."""
    if (card := CARDS.get(name)) and card.on_attach:
        raise decline(card.on_attach)
    method = find_method(store, name, param, in_path=in_path)
    if method["customer"] not in {None, customer["id"]}:
        message = "The payment method you provided has already been attached to a customer."
        raise StripeError(message, "payment_method_already_attached" if in_path else None, param)
    if method["customer"] is None:
        method["customer"] = customer["id"]
        store.emit("payment_method.attached", method)
    return method


def get_attached(store: Store, name: str, customer_id: str, param: str) -> StripeObject:
    """Return a payment method of this customer; a test card's name is attached first, as at Stripe."""
    if name in CARDS:
        attached = store.where("payment_method", customer=customer_id, _card=name)
        return attached[0] if attached else attach(store, name, {"id": customer_id}, param)
    method = store.get("payment_method", name, param)
    if method["customer"] != customer_id:
        message = (
            f"The customer does not have a payment method with the ID {name}. The payment method must be "
            "attached to the customer."
        )
        raise StripeError(message, "resource_missing", param)
    return method


def attach_payment_method(store: Store, params: Params, method_id: str) -> StripeObject:
    """Attach a payment method to a customer."""
    if "customer" not in params:
        raise StripeError("Missing required param: customer.", "parameter_missing", "customer")
    customer = store.get("customer", params["customer"], "customer")
    return attach(store, method_id, customer, "payment_method", in_path=True)


def detach_payment_method(store: Store, _: Params, method_id: str) -> StripeObject:
    """Detach a payment method from its customer, also as the default."""
    method = store.get("payment_method", method_id, "payment_method", in_path=True)
    if method["customer"] is None:
        message = "The payment method you provided is not attached to a customer so detachment is impossible."
        raise StripeError(message, param="payment_method")
    _detach(store, method)
    return method


def _detach(store: Store, method: StripeObject) -> None:
    customer = store.table("customer").get(method["customer"], {})
    if customer.get("invoice_settings", {}).get("default_payment_method") == method["id"]:
        with store.updating(customer, "customer.updated"):
            customer["invoice_settings"]["default_payment_method"] = None
    for subscription in store.where("subscription", default_payment_method=method["id"]):
        with store.updating(subscription, "customer.subscription.updated"):
            subscription["default_payment_method"] = None
    with store.updating(method, "payment_method.detached"):
        method["customer"] = None


def detach_all(store: Store, customer_id: str) -> None:
    """Detach the payment methods of a customer who is deleted."""
    for method in store.where("payment_method", customer=customer_id):
        _detach(store, method)


def retrieve_payment_method(store: Store, _: Params, method_id: str) -> StripeObject:
    """Return a payment method."""
    return store.get("payment_method", method_id, "payment_method", in_path=True)


def update_payment_method(store: Store, params: Params, method_id: str) -> StripeObject:
    """Change a payment method."""
    method = store.get("payment_method", method_id, "payment_method", in_path=True)
    with store.updating(method, "payment_method.updated"):
        assign(method, params, "allow_redisplay")
        method["billing_details"] |= params.get("billing_details", {})
    return method


def list_payment_methods(store: Store, params: Params) -> StripeObject:
    """List the payment methods of a customer."""
    if "customer" not in params:
        raise StripeError("Missing required param: customer.", "parameter_missing", "customer")
    return list_of_customer(store, params, params["customer"])


def list_of_customer(store: Store, params: Params, customer_id: str) -> StripeObject:
    """List the payment methods of a customer, who is in the path."""
    store.get("customer", customer_id, "customer", in_path=True)
    methods = [
        method
        for method in store.where("payment_method", customer=customer_id)
        if matches(method, params, "type", "allow_redisplay")
    ]
    return page(methods, params, "/v1/payment_methods")


OPERATIONS = [
    Operation("POST", "/v1/payment_methods", create_payment_method, "payment_method_create"),
    Operation("GET", "/v1/payment_methods", list_payment_methods, "payment_method_list"),
    Operation("GET", "/v1/payment_methods/{id}", retrieve_payment_method, "payment_method_retrieve"),
    Operation(
        "POST",
        "/v1/payment_methods/{id}",
        update_payment_method,
        "payment_method_update",
        "allow_redisplay billing_details",
    ),
    Operation("POST", "/v1/payment_methods/{id}/attach", attach_payment_method, "payment_method_attach"),
    Operation("POST", "/v1/payment_methods/{id}/detach", detach_payment_method, "payment_method_detach"),
    Operation("GET", "/v1/customers/{id}/payment_methods", list_of_customer, "customer_payment_method_list"),
]
