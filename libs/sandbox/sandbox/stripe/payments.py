"""Payment intents of invoices, and the cards that they are charged to."""

from sandbox.stripe.charges import create_charge
from sandbox.stripe.errors import StripeError
from sandbox.stripe.objects import StripeObject, embedded_list, new_id, new_object
from sandbox.stripe.payment_methods import CARDS, decline
from sandbox.stripe.store import Store

NO_METHOD = (
    "This customer has no attached payment source or default payment method. "
    "Please consider adding a default payment method."
)


_NEW_INTENT: StripeObject = {
    "object": "payment_intent",
    "amount_capturable": 0,
    "amount_received": 0,
    "automatic_payment_methods": None,
    "canceled_at": None,
    "cancellation_reason": None,
    "capture_method": "automatic",
    "confirmation_method": "automatic",
    "description": None,
    "last_payment_error": None,
    "latest_charge": None,
    "livemode": False,
    "metadata": {},
    "next_action": None,
    "payment_method": None,
    "payment_method_types": ["card"],
    "setup_future_usage": "off_session",
    "status": "requires_payment_method",
}
_NEW_INVOICE_PAYMENT: StripeObject = {
    "object": "invoice_payment",
    "amount_paid": None,
    "is_default": True,
    "livemode": False,
    "status": "open",
    "status_transitions": {"canceled_at": None, "paid_at": None},
}


def create_payment(store: Store, invoice: StripeObject) -> None:
    """Create an invoice's payment, and the intent that pays it."""
    invoice["_payment_intent"] = intent_id = _create_intent(store, invoice)
    payment = new_object(
        _NEW_INVOICE_PAYMENT,
        id=new_id("inpay"),
        amount_requested=invoice["amount_due"],
        created=store.now(),
        currency=invoice["currency"],
        invoice=invoice["id"],
        payment={"payment_intent": intent_id, "type": "payment_intent"},
    )
    store.insert(payment)


def _create_intent(store: Store, invoice: StripeObject) -> str:
    """Create an invoice's payment intent, and return its id."""
    intent_id = new_id("pi")
    intent: StripeObject = new_object(
        _NEW_INTENT,
        id=intent_id,
        _invoice=invoice["id"],
        amount=invoice["amount_due"],
        client_secret=f"{intent_id}_secret_{new_id('s')[2:]}",
        created=store.now(),
        currency=invoice["currency"],
        customer=invoice["customer"],
    )
    store.insert(intent, "payment_intent.created")
    return intent_id


def method_for(store: Store, invoice: StripeObject, subscription: StripeObject | None) -> StripeObject | None:
    """Return the card that is charged: the invoice's, the subscription's or the customer's default."""
    customer = store.table("customer")[invoice["customer"]]
    names = (
        invoice["default_payment_method"],
        (subscription or {}).get("default_payment_method"),
        customer.get("invoice_settings", {}).get("default_payment_method"),
    )
    return next((store.table("payment_method")[name] for name in names if name), None)


def refusal_of(method: StripeObject | None) -> StripeError | None:
    """Return the error that charging this card ends in."""
    if method is None:
        return StripeError(NO_METHOD, "resource_missing")
    code = CARDS[method["_card"]].on_charge
    return decline(code) if code else None


def charge(
    store: Store, invoice: StripeObject, method: StripeObject | None, *, authenticated: bool = False
) -> StripeError | None:
    """Charge a card for an invoice; returns the error it ends in."""
    intent = store.table("payment_intent")[invoice["_payment_intent"]]
    error = None if authenticated else refusal_of(method)
    if error is None:
        _succeed(store, invoice, intent, method)
    else:
        _fail(store, intent, method, error)
    return error


def _succeed(store: Store, invoice: StripeObject, intent: StripeObject, method: StripeObject | None) -> None:
    taken = create_charge(store, intent, method, None)
    with store.updating(intent, "payment_intent.succeeded"):
        intent |= {
            "status": "succeeded",
            "amount_received": intent["amount"],
            "latest_charge": taken["id"],
            "last_payment_error": None,
            "next_action": None,
            "payment_method": method["id"] if method else intent["payment_method"],
        }
    payment = store.where("invoice_payment", invoice=invoice["id"])[-1]
    payment |= {"status": "paid", "amount_paid": intent["amount"]}
    payment["status_transitions"]["paid_at"] = store.now()
    store.emit("invoice_payment.paid", payment)


def _fail(store: Store, intent: StripeObject, method: StripeObject | None, error: StripeError) -> None:
    needs_action = error.code == "authentication_required"
    kind = "payment_intent.requires_action" if needs_action else "payment_intent.payment_failed"
    refused = create_charge(store, intent, method, error) if method and not needs_action else None
    with store.updating(intent, kind):
        intent |= {
            "status": "requires_action" if needs_action else "requires_payment_method",
            "next_action": {"type": "use_stripe_sdk", "use_stripe_sdk": {}} if needs_action else None,
            "latest_charge": refused["id"] if refused else intent["latest_charge"],
            "payment_method": method["id"] if method and needs_action else None,
            "last_payment_error": {"code": error.code, "message": error.message, "type": error.type}
            | error.members,
        }


def cancel_payment(store: Store, invoice: StripeObject) -> None:
    """Cancel the payment of an invoice that will not be paid this way."""
    if (intent := store.table("payment_intent").get(invoice.get("_payment_intent", ""))) is None:
        return
    with store.updating(intent, "payment_intent.canceled"):
        intent |= {"status": "canceled", "canceled_at": store.now(), "cancellation_reason": "void_invoice"}
    for payment in store.where("invoice_payment", invoice=invoice["id"], status="open"):
        payment["status"] = "canceled"
        payment["status_transitions"]["canceled_at"] = store.now()


def payments_of(store: Store, invoice: StripeObject) -> StripeObject:
    """Return an invoice's payments, for `expand[]=payments`."""
    return embedded_list("/v1/invoice_payments", store.where("invoice_payment", invoice=invoice["id"]))


def confirmation_secret_of(store: Store, invoice: StripeObject) -> StripeObject | None:
    """Return what a browser confirms the payment with, for `expand[]=confirmation_secret`."""
    stored = store.table("invoice").get(invoice["id"], {})
    intent = store.table("payment_intent").get(stored.get("_payment_intent", ""))
    if intent is None or intent["status"] in {"succeeded", "canceled"}:
        return None
    return {"client_secret": intent["client_secret"], "type": "payment_intent"}
