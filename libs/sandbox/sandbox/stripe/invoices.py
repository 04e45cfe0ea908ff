"""Invoices: drafted, finalized, paid, voided or written off. Totals are the sums of the lines."""

from sandbox.stripe.errors import StripeError
from sandbox.stripe.lines import refresh_usage
from sandbox.stripe.objects import Lines, Period, StripeObject, embedded_list, new_id, new_object
from sandbox.stripe.payments import cancel_payment, create_payment
from sandbox.stripe.store import Store

# What an invoice repeats of its customer.
_OF_CUSTOMER = ("address", "email", "name", "phone", "shipping", "tax_exempt")
_NEW_INVOICE: StripeObject = {
    "object": "invoice",
    "account_country": "US",
    "account_name": "Sandbox",
    "account_tax_ids": None,
    "amount_shipping": 0,
    "application": None,
    "attempt_count": 0,
    "attempted": False,
    "auto_advance": True,
    "automatic_tax": {
        "disabled_reason": None,
        "enabled": False,
        "liability": None,
        "provider": None,
        "status": None,
    },
    "automatically_finalizes_at": None,
    "collection_method": "charge_automatically",
    "custom_fields": None,
    "customer_tax_ids": [],
    "default_payment_method": None,
    "default_source": None,
    "default_tax_rates": [],
    "description": None,
    "discounts": [],
    "due_date": None,
    "effective_at": None,
    "ending_balance": None,
    "footer": None,
    "from_invoice": None,
    "hosted_invoice_url": None,
    "invoice_pdf": None,
    "issuer": {"type": "self"},
    "last_finalization_error": None,
    "latest_revision": None,
    "livemode": False,
    "metadata": {},
    "next_payment_attempt": None,
    "number": None,
    "on_behalf_of": None,
    "payment_settings": {
        "default_mandate": None,
        "payment_method_options": None,
        "payment_method_types": None,
    },
    "post_payment_credit_notes_amount": 0,
    "pre_payment_credit_notes_amount": 0,
    "receipt_number": None,
    "rendering": None,
    "shipping_cost": None,
    "shipping_details": None,
    "statement_descriptor": None,
    "status": "draft",
    "status_transitions": {
        "finalized_at": None,
        "marked_uncollectible_at": None,
        "paid_at": None,
        "voided_at": None,
    },
    "test_clock": None,
    "threshold_reason": None,
    "total_discount_amounts": [],
    "total_pretax_credit_amounts": [],
    "total_taxes": [],
    "webhooks_delivered_at": None,
}


def assemble(
    store: Store, subscription: StripeObject, lines: Lines, reason: str, period: Period | None = None
) -> StripeObject:
    """Return a draft with these lines, without storing it."""
    customer = store.table("customer")[subscription["customer"]]
    now = store.now()
    invoice_id = new_id("in")
    start, end = period or (now, now)
    for each in lines:
        each["invoice"] = invoice_id
    return new_object(
        _NEW_INVOICE,
        id=invoice_id,
        **_amounts(customer, lines),
        billing_reason=reason,
        created=now,
        currency=subscription["currency"],
        customer=customer["id"],
        **{f"customer_{name}": customer[name] for name in _OF_CUSTOMER},
        lines=embedded_list(f"/v1/invoices/{invoice_id}/lines", lines),
        parent=_parent(subscription),
        period_end=end,
        period_start=start,
    )


def _parent(subscription: StripeObject) -> StripeObject:
    details = {"metadata": dict(subscription["metadata"]), "subscription": subscription["id"]}
    return {"quote_details": None, "subscription_details": details, "type": "subscription_details"}


def _amounts(customer: StripeObject, lines: list[StripeObject]) -> StripeObject:
    """Sum up; a customer's credit (a negative balance) pays first, and what is negative becomes credit."""
    total = sum(each["amount"] for each in lines)
    balance = customer["balance"]
    due = max(0, total + balance)
    return {
        "amount_due": due,
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_remaining": due,
        "starting_balance": balance,
        "subtotal": total,
        "subtotal_excluding_tax": total,
        "total": total,
        "total_excluding_tax": total,
        "_ending_balance": total + balance - due,
    }


def create_invoice(store: Store, invoice: StripeObject) -> StripeObject:
    """Store a draft."""
    store.insert(invoice, "invoice.created")
    if subscription := subscription_of(store, invoice):
        subscription["latest_invoice"] = invoice["id"]
    return invoice


def subscription_of(store: Store, invoice: StripeObject) -> StripeObject | None:
    """Return the subscription that an invoice is for."""
    details = (invoice["parent"] or {}).get("subscription_details") or {}
    return store.table("subscription").get(details.get("subscription", ""))


def refresh_amounts(store: Store, invoice: StripeObject) -> None:
    """Sum up a draft's lines anew."""
    lines = invoice["lines"]
    lines["data"] = [refresh_usage(store, line) for line in lines["data"]]
    lines["total_count"] = len(lines["data"])
    invoice |= _amounts(store.table("customer")[invoice["customer"]], lines["data"])


def finalize(store: Store, invoice: StripeObject) -> StripeObject:
    """Set the number and the final amounts of an invoice; what is not to be paid is paid at once."""
    if invoice["status"] != "draft":
        message = "This invoice is already finalized, you can't re-finalize a non-draft invoice."
        raise StripeError(message, "invoice_not_editable")
    customer = store.table("customer")[invoice["customer"]]
    base = store.context.base_url or invoice.get("_base_url", "")
    with store.updating(invoice):
        refresh_amounts(store, invoice)
        invoice |= {
            "status": "open",
            "automatically_finalizes_at": None,
            "effective_at": store.now(),
            "ending_balance": invoice["_ending_balance"],
            "number": _next_number(customer),
            "hosted_invoice_url": f"{base}/pages/invoices/{invoice['id']}",
            "invoice_pdf": f"{base}/pages/invoices/{invoice['id']}/pdf",
        }
        invoice["status_transitions"]["finalized_at"] = store.now()
    with store.updating(customer, "customer.updated"):
        customer["balance"] = invoice["ending_balance"]
    if invoice["amount_due"]:
        create_payment(store, invoice)
    store.emit("invoice.finalized", invoice)
    return invoice


def _next_number(customer: StripeObject) -> str:
    number = f"{customer['invoice_prefix']}-{customer['next_invoice_sequence']:04d}"
    customer["next_invoice_sequence"] += 1
    return number


def mark_paid(store: Store, invoice: StripeObject, *, out_of_band: bool = False) -> None:
    """Record that an invoice is paid."""
    with store.updating(invoice, "invoice.updated"):
        invoice |= {
            "status": "paid",
            "attempted": True,
            "auto_advance": False,
            "next_payment_attempt": None,
            "amount_paid": 0 if out_of_band else invoice["amount_due"],
            "amount_remaining": 0,
        }
        invoice["status_transitions"]["paid_at"] = store.now()
    if out_of_band:
        cancel_payment(store, invoice)
    store.emit("invoice.paid", invoice)
    store.emit("invoice.payment_succeeded", invoice)


def void(store: Store, invoice: StripeObject) -> StripeObject:
    """Void an invoice that is not paid."""
    if invoice["status"] not in {"open", "uncollectible"}:
        message = f"You can only pass in open or uncollectible invoices. This invoice is {invoice['status']}."
        raise StripeError(message, "invoice_not_editable")
    with store.updating(invoice, "invoice.voided"):
        _close(store, invoice, "void", "voided_at")
    return invoice


def mark_uncollectible(store: Store, invoice: StripeObject) -> StripeObject:
    """Write an invoice off."""
    if invoice["status"] not in {"draft", "open"}:
        message = f"You can only pass in draft or open invoices. This invoice is {invoice['status']}."
        raise StripeError(message, "invoice_not_editable")
    if invoice["status"] == "draft":
        finalize(store, invoice)
    with store.updating(invoice, "invoice.marked_uncollectible"):
        _close(store, invoice, "uncollectible", "marked_uncollectible_at")
    return invoice


def _close(store: Store, invoice: StripeObject, status: str, transition: str) -> None:
    invoice |= {"status": status, "auto_advance": False, "next_payment_attempt": None}
    invoice["status_transitions"][transition] = store.now()
    cancel_payment(store, invoice)
