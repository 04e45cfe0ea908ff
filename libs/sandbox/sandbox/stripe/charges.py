"""Charges of cards, their refunds and disputes."""

from sandbox.stripe.errors import StripeError, missing_param
from sandbox.stripe.lists import in_range, matches, page
from sandbox.stripe.objects import Params, StripeObject, embedded_list, merge_metadata, new_id
from sandbox.stripe.operations import Operation
from sandbox.stripe.store import Store


def create_charge(
    store: Store, intent: StripeObject, method: StripeObject | None, error: StripeError | None
) -> StripeObject:
    """Record that a card was charged, or that it refused."""
    failed = error is not None
    charge: StripeObject = {
        "id": new_id("ch"),
        "object": "charge",
        "amount": intent["amount"],
        "amount_captured": 0 if failed else intent["amount"],
        "amount_refunded": 0,
        "application": None,
        "balance_transaction": None,
        "billing_details": method["billing_details"] if method else {},
        "captured": not failed,
        "created": store.now(),
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": None,
        "disputed": False,
        "failure_code": error.code if error else None,
        "failure_message": error.message if error else None,
        "livemode": False,
        "metadata": {},
        "outcome": None,
        "paid": not failed,
        "payment_intent": intent["id"],
        "payment_method": method["id"] if method else None,
        "payment_method_details": {"card": method["card"], "type": "card"} if method else None,
        "receipt_email": None,
        "receipt_url": None,
        "refunded": False,
        "status": "failed" if failed else "succeeded",
    }
    return store.insert(charge, "charge.failed" if failed else "charge.succeeded")


def retrieve_charge(store: Store, _: Params, charge_id: str) -> StripeObject:
    """Return a charge."""
    return store.get("charge", charge_id, in_path=True)


def list_charges(store: Store, params: Params) -> StripeObject:
    """List charges."""
    charges = [
        charge
        for charge in store.table("charge").values()
        if matches(charge, params, "customer", "payment_intent")
        and in_range(charge["created"], params.get("created"))
    ]
    return page(charges, params, "/v1/charges")


def create_refund(store: Store, params: Params) -> StripeObject:
    """Return money, all of a charge or a part."""
    charge = _charge_of(store, params)
    left = charge["amount_captured"] - charge["amount_refunded"]
    amount = params.get("amount", left)
    if not left:
        raise StripeError(f"Charge {charge['id']} has already been refunded.", "charge_already_refunded")
    if not 0 < amount <= left:
        message = f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})."
        raise StripeError(message, param="amount")
    refund: StripeObject = {
        "id": new_id("re"),
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": store.now(),
        "currency": charge["currency"],
        "metadata": merge_metadata({}, params.get("metadata", {})),
        "payment_intent": charge["payment_intent"],
        "reason": params.get("reason"),
        "receipt_number": None,
        "status": "succeeded",
    }
    store.insert(refund, "refund.created")
    with store.updating(charge, "charge.refunded"):
        charge["amount_refunded"] += amount
        charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]
    return refund


def _charge_of(store: Store, params: Params) -> StripeObject:
    if "charge" in params:
        return store.get("charge", params["charge"], "charge")
    if "payment_intent" not in params:
        raise missing_param("charge")
    intent = store.get("payment_intent", params["payment_intent"], "payment_intent")
    if intent["status"] != "succeeded":
        message = "This PaymentIntent does not have a successful charge to refund."
        raise StripeError(message, "charge_not_refundable", "payment_intent")
    return store.get("charge", intent["latest_charge"], "charge")


def retrieve_refund(store: Store, _: Params, refund_id: str) -> StripeObject:
    """Return a refund."""
    return store.get("refund", refund_id, in_path=True)


def list_refunds(store: Store, params: Params) -> StripeObject:
    """List refunds."""
    refunds = [
        refund
        for refund in store.table("refund").values()
        if matches(refund, params, "charge", "payment_intent")
        and in_range(refund["created"], params.get("created"))
    ]
    return page(refunds, params, "/v1/refunds")


def refunds_of(store: Store, charge: StripeObject) -> StripeObject:
    """Return a charge's refunds, for `expand[]=refunds`."""
    refunds = store.where("refund", charge=charge["id"])
    return embedded_list(f"/v1/charges/{charge['id']}/refunds", refunds[::-1])


def open_dispute(store: Store, charge_id: str, reason: str) -> StripeObject:
    """Dispute a charge, as the card's owner would at the bank."""
    charge = store.get("charge", charge_id, in_path=True)
    if charge["disputed"] or not charge["paid"]:
        raise StripeError("This charge cannot be disputed.", param="charge")
    dispute: StripeObject = {
        "id": new_id("du"),
        "object": "dispute",
        "amount": charge["amount"],
        "balance_transactions": [],
        "charge": charge["id"],
        "created": store.now(),
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {"enhanced_evidence": {}},
        "evidence_details": {
            "due_by": store.now() + 7 * 24 * 3600,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        "is_charge_refundable": False,
        "livemode": False,
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "reason": reason,
        "status": "needs_response",
    }
    charge["disputed"] = True
    return store.insert(dispute, "charge.dispute.created")


def close_dispute(store: Store, dispute_id: str, status: str) -> StripeObject:
    """Decide a dispute, as the bank would."""
    dispute = store.get("dispute", dispute_id, in_path=True)
    with store.updating(dispute, "charge.dispute.closed"):
        dispute["status"] = status
    return dispute


def retrieve_dispute(store: Store, _: Params, dispute_id: str) -> StripeObject:
    """Return a dispute."""
    return store.get("dispute", dispute_id, in_path=True)


def list_disputes(store: Store, params: Params) -> StripeObject:
    """List disputes."""
    disputes = [
        dispute
        for dispute in store.table("dispute").values()
        if matches(dispute, params, "charge", "payment_intent")
        and in_range(dispute["created"], params.get("created"))
    ]
    return page(disputes, params, "/v1/disputes")


OPERATIONS = [
    Operation(
        "GET",
        "/v1/charges",
        list_charges,
        "charge_list",
        "created customer payment_intent limit starting_after ending_before",
    ),
    Operation("GET", "/v1/charges/{id}", retrieve_charge, "charge_retrieve"),
    Operation("POST", "/v1/refunds", create_refund, "refund_create", "amount charge payment_intent reason"),
    Operation("GET", "/v1/refunds", list_refunds, "refund_list"),
    Operation("GET", "/v1/refunds/{id}", retrieve_refund, "refund_retrieve"),
    Operation("GET", "/v1/disputes", list_disputes, "dispute_list"),
    Operation("GET", "/v1/disputes/{id}", retrieve_dispute, "dispute_retrieve"),
]
