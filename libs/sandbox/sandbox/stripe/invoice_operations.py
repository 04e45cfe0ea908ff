"""The operations on invoices."""

from sandbox.stripe.collection import collect, settle
from sandbox.stripe.errors import StripeError, missing_param
from sandbox.stripe.invoices import finalize, mark_uncollectible, subscription_of, void
from sandbox.stripe.lists import in_range, matches, page
from sandbox.stripe.objects import Params, StripeObject, assign
from sandbox.stripe.operations import Operation
from sandbox.stripe.payment_methods import get_attached
from sandbox.stripe.previews import PREVIEW, preview_invoice
from sandbox.stripe.store import Store


def _get_payable(store: Store, invoice_id: str) -> StripeObject:
    invoice = _get(store, invoice_id)
    store.get("customer", invoice["customer"], "customer")
    return invoice


def _get(store: Store, invoice_id: str) -> StripeObject:
    return store.get("invoice", invoice_id, "invoice", in_path=True)


def retrieve_invoice(store: Store, _: Params, invoice_id: str) -> StripeObject:
    """Return an invoice."""
    return _get(store, invoice_id)


def list_invoices(store: Store, params: Params) -> StripeObject:
    """List invoices."""
    invoices = [
        invoice
        for invoice in store.table("invoice").values()
        if matches(invoice, params, "customer", "status", "collection_method")
        and in_range(invoice["created"], params.get("created"))
        and ("subscription" not in params or _is_of(store, invoice, params["subscription"]))
    ]
    return page(invoices, params, "/v1/invoices")


def _is_of(store: Store, invoice: StripeObject, subscription_id: str) -> bool:
    return (subscription_of(store, invoice) or {}).get("id") == subscription_id


def list_lines(store: Store, params: Params, invoice_id: str) -> StripeObject:
    """List an invoice's lines, in their order."""
    lines = _get(store, invoice_id)["lines"]["data"]
    return page(lines[::-1], params, f"/v1/invoices/{invoice_id}/lines")


def update_invoice(store: Store, params: Params, invoice_id: str) -> StripeObject:
    """Change an invoice's metadata and the like, and whether a draft goes on by itself."""
    invoice = _get(store, invoice_id)
    with store.updating(invoice, "invoice.updated"):
        assign(invoice, params, "description", "footer", "auto_advance")
        if name := params.get("default_payment_method"):
            method = get_attached(store, name, invoice["customer"], "default_payment_method")
            invoice["default_payment_method"] = method["id"]
    return invoice


def finalize_invoice(store: Store, params: Params, invoice_id: str) -> StripeObject:
    """Finalize a draft; it is collected unless `auto_advance` is false."""
    invoice = _get_payable(store, invoice_id)
    goes_on = params.get("auto_advance", invoice["auto_advance"])
    finalize(store, invoice)
    if not invoice["amount_due"]:
        settle(store, invoice)
    elif goes_on:
        collect(store, invoice)
    return invoice


def pay_invoice(store: Store, params: Params, invoice_id: str) -> StripeObject:
    """Pay an invoice now, with the card that is given or the default; 402 if it is refused."""
    invoice = _get_payable(store, invoice_id)
    if invoice["status"] == "paid":
        raise StripeError("Invoice is already paid", "invoice_already_paid")
    if invoice["status"] not in {"draft", "open", "uncollectible"}:
        raise StripeError(f"This invoice is {invoice['status']} and cannot be paid.", "invoice_not_editable")
    name = params.get("payment_method")
    method = get_attached(store, name, invoice["customer"], "payment_method") if name else None
    if invoice["status"] == "draft":
        finalize(store, invoice)
    if params.get("paid_out_of_band") or not invoice["amount_due"]:
        settle(store, invoice, out_of_band=bool(params.get("paid_out_of_band")))
        return invoice
    if error := collect(store, invoice, method):
        raise _as_refusal(error)
    return invoice


def _as_refusal(error: StripeError) -> StripeError:
    if error.code != "authentication_required":
        return error
    message = (
        "Payment for this invoice requires additional user action before it can be completed successfully."
    )
    return StripeError(message, "invoice_payment_intent_requires_action", type="card_error")


def void_invoice(store: Store, _: Params, invoice_id: str) -> StripeObject:
    """Void an open invoice."""
    return void(store, _get(store, invoice_id))


def write_off_invoice(store: Store, _: Params, invoice_id: str) -> StripeObject:
    """Mark an invoice as uncollectible."""
    return mark_uncollectible(store, _get_payable(store, invoice_id))


def list_payments(store: Store, params: Params) -> StripeObject:
    """List the payments of an invoice."""
    payments = [
        payment
        for payment in store.table("invoice_payment").values()
        if matches(payment, params, "invoice", "status")
    ]
    return page(payments, params, "/v1/invoice_payments")


def retrieve_payment_intent(store: Store, _: Params, intent_id: str) -> StripeObject:
    """Return a payment intent."""
    return store.get("payment_intent", intent_id, "intent", in_path=True)


def confirm_payment_intent(store: Store, params: Params, intent_id: str) -> StripeObject:
    """Pay an invoice as its customer would in a browser, with the card that is given."""
    intent = store.get("payment_intent", intent_id, "intent", in_path=True)
    if intent["status"] not in {"requires_payment_method", "requires_confirmation", "requires_action"}:
        message = f"This PaymentIntent's status is {intent['status']} and cannot be confirmed."
        raise StripeError(message, "payment_intent_unexpected_state")
    if "payment_method" not in params:
        raise missing_param("payment_method")
    invoice = store.table("invoice")[intent["_invoice"]]
    method = get_attached(store, params["payment_method"], intent["customer"], "payment_method")
    error = collect(store, invoice, method)
    if error and error.code != "authentication_required":
        raise error
    return intent


def authenticate(store: Store, intent_id: str) -> StripeObject:
    """Pass the bank's authentication of a payment, as its customer would."""
    intent = store.get("payment_intent", intent_id, "intent", in_path=True)
    if intent["status"] != "requires_action":
        raise StripeError(
            "This payment does not wait for an authentication.", "payment_intent_unexpected_state"
        )
    method = store.table("payment_method").get(intent["payment_method"])
    collect(store, store.table("invoice")[intent["_invoice"]], method, authenticated=True)
    return intent


OPERATIONS = [
    Operation("POST", "/v1/invoices/create_preview", preview_invoice, "invoice_create_preview", PREVIEW),
    Operation("GET", "/v1/invoices", list_invoices, "invoice_list"),
    Operation("GET", "/v1/invoices/{id}", retrieve_invoice, "invoice_retrieve"),
    Operation(
        "POST",
        "/v1/invoices/{id}",
        update_invoice,
        "invoice_update",
        "auto_advance default_payment_method description footer",
    ),
    Operation("GET", "/v1/invoices/{id}/lines", list_lines, "invoice_line_item_list"),
    Operation("POST", "/v1/invoices/{id}/finalize", finalize_invoice, "invoice_finalize_invoice"),
    Operation(
        "POST",
        "/v1/invoices/{id}/pay",
        pay_invoice,
        "invoice_pay",
        "off_session paid_out_of_band payment_method",
    ),
    Operation("POST", "/v1/invoices/{id}/void", void_invoice, "invoice_void_invoice"),
    Operation(
        "POST", "/v1/invoices/{id}/mark_uncollectible", write_off_invoice, "invoice_mark_uncollectible"
    ),
    Operation("GET", "/v1/invoice_payments", list_payments, "invoice_payment_list"),
    Operation("GET", "/v1/payment_intents/{id}", retrieve_payment_intent, "payment_intent_retrieve"),
    Operation(
        "POST",
        "/v1/payment_intents/{id}/confirm",
        confirm_payment_intent,
        "payment_intent_confirm",
        "off_session payment_method return_url",
    ),
]
