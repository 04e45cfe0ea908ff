"""Charges of cards, their refunds and disputes."""

from sandbox.stripe.errors import StripeError, missing_param
from sandbox.stripe.lists import in_range, matches, page
from sandbox.stripe.objects import Params, StripeObject, assign, embedded_list, new_id, new_object
from sandbox.stripe.operations import Operation
from sandbox.stripe.store import Store

_EVIDENCE_DUE_WITHIN = 7 * 24 * 3600
_NEW_CHARGE: StripeObject = {
    "object": "charge",
    "amount_refunded": 0,
    "application": None,
    "balance_transaction": None,
    "description": None,
    "disputed": False,
    "livemode": False,
    "metadata": {},
    "outcome": None,
    "receipt_email": None,
    "receipt_url": None,
    "refunded": False,
}


def create_charge(
    store: Store, intent: StripeObject, method: StripeObject | None, error: StripeError | None
) -> StripeObject:
    """Record that a card was charged, or that it refused."""
    charge = new_object(
        _NEW_CHARGE,
        id=new_id("ch"),
        amount=intent["amount"],
        created=store.now(),
        currency=intent["currency"],
        customer=intent["customer"],
        payment_intent=intent["id"],
        **_method_members(method),
        **_result_members(intent["amount"], error),
    )
    return store.insert(charge, f"charge.{charge['status']}")


def _method_members(method: StripeObject | None) -> StripeObject:
    return {
        "billing_details": method["billing_details"] if method else {},
        "payment_method": method["id"] if method else None,
        "payment_method_details": {"card": method["card"], "type": "card"} if method else None,
    }


def _result_members(amount: int, error: StripeError | None) -> StripeObject:
    is_paid = error is None
    return {
        "amount_captured": amount if is_paid else 0,
        "captured": is_paid,
        "failure_code": error.code if error else None,
        "failure_message": error.message if error else None,
        "paid": is_paid,
        "status": "succeeded" if is_paid else "failed",
    }


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


_NEW_REFUND: StripeObject = {
    "object": "refund",
    "balance_transaction": None,
    "metadata": {},
    "reason": None,
    "receipt_number": None,
    "status": "succeeded",
}


def create_refund(store: Store, params: Params) -> StripeObject:
    """Return money, all of a charge or a part."""
    charge = _charge_of(store, params)
    amount = _refundable(charge, params)
    refund = new_object(
        _NEW_REFUND,
        id=new_id("re"),
        amount=amount,
        charge=charge["id"],
        created=store.now(),
        currency=charge["currency"],
        payment_intent=charge["payment_intent"],
    )
    assign(refund, params, "reason")
    store.insert(refund, "refund.created")
    with store.updating(charge, "charge.refunded"):
        charge["amount_refunded"] += amount
        charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]
    return refund


def _refundable(charge: StripeObject, params: Params) -> int:
    """Return how much is to be returned; raises StripeError for more than is left of the charge."""
    left: int = charge["amount_captured"] - charge["amount_refunded"]
    amount: int = params.get("amount", left)
    if not left:
        raise StripeError(f"Charge {charge['id']} has already been refunded.", "charge_already_refunded")
    if not 0 < amount <= left:
        message = f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})."
        raise StripeError(message, param="amount")
    return amount


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


_NEW_DISPUTE: StripeObject = {
    "object": "dispute",
    "balance_transactions": [],
    "enhanced_eligibility_types": [],
    "evidence": {"enhanced_evidence": {}},
    "evidence_details": {
        "due_by": None,
        "enhanced_eligibility": {},
        "has_evidence": False,
        "past_due": False,
        "submission_count": 0,
        "submission_method": "not_submitted",
    },
    "is_charge_refundable": False,
    "livemode": False,
    "metadata": {},
    "status": "needs_response",
}


def open_dispute(store: Store, charge_id: str, reason: str) -> StripeObject:
    """Dispute a charge, as the card's owner would at the bank."""
    charge = store.get("charge", charge_id, in_path=True)
    if charge["disputed"] or not charge["paid"]:
        raise StripeError("This charge cannot be disputed.", param="charge")
    dispute: StripeObject = new_object(
        _NEW_DISPUTE,
        id=new_id("du"),
        amount=charge["amount"],
        charge=charge["id"],
        created=store.now(),
        currency=charge["currency"],
        payment_intent=charge["payment_intent"],
        reason=reason,
    )
    dispute["evidence_details"]["due_by"] = store.now() + _EVIDENCE_DUE_WITHIN
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
