"""Invoices: their numbers, pages, and what can be done to them."""

import httpx
import pytest
from stripe import InvalidRequestError, StripeClient

from .conftest import Clock
from .factories import a_customer, a_price, a_subscription, amounts, event_types, item_of


def test_an_invoice_has_a_number_a_page_and_a_pdf(stripe: StripeClient) -> None:
    invoice = a_subscription(stripe).latest_invoice
    assert invoice.number.endswith("-0001")
    page = httpx.get(invoice.hosted_invoice_url, timeout=60)
    assert invoice.number in page.text
    assert "10.00 EUR" in page.text
    pdf = httpx.get(invoice.invoice_pdf, timeout=60)
    assert pdf.headers["content-type"] == "application/pdf"
    assert pdf.content.startswith(b"%PDF-1.4")
    assert pdf.content.rstrip().endswith(b"%%EOF")
    assert invoice.number.encode() in pdf.content


def test_a_renewal_stays_a_draft_for_an_hour(stripe: StripeClient, clock: Clock) -> None:
    subscription = a_subscription(stripe)
    clock.advance(days=31)
    draft = stripe.v1.invoices.list({"subscription": subscription.id, "limit": 1}).data[0]
    assert draft.billing_reason == "subscription_cycle"
    if draft.status == "draft":
        assert draft.automatically_finalizes_at == draft.created + 3600
        assert stripe.v1.invoices.finalize_invoice(draft.id, {"auto_advance": False}).status == "open"
        assert stripe.v1.invoices.pay(draft.id).status == "paid"
    with pytest.raises(InvalidRequestError) as refused:
        stripe.v1.invoices.pay(draft.id)
    assert refused.value.code == "invoice_already_paid"


def test_open_invoices_can_be_voided_written_off_or_paid_elsewhere(stripe: StripeClient) -> None:
    first, second, third = (
        a_subscription(stripe, payment_behavior="default_incomplete").latest_invoice.id for _ in range(3)
    )
    assert stripe.v1.invoices.void_invoice(first).status == "void"
    assert stripe.v1.invoices.mark_uncollectible(second).status == "uncollectible"
    paid = stripe.v1.invoices.pay(third, {"paid_out_of_band": True})
    assert (paid.status, paid.amount_paid, paid.amount_remaining) == ("paid", 0, 0)
    with pytest.raises(InvalidRequestError):
        stripe.v1.invoices.void_invoice(third)
    assert event_types(stripe, first)[-1] == "invoice.voided"


def test_invoice_items_go_onto_the_next_invoice(stripe: StripeClient, clock: Clock) -> None:
    subscription = a_subscription(stripe)
    params = {
        "customer": subscription.customer,
        "amount": -300,
        "currency": "eur",
        "description": "Correction",
    }
    item = stripe.v1.invoice_items.create(params)  # type: ignore[arg-type]
    assert amounts(stripe.v1.invoices.create_preview({"subscription": subscription.id})) == [1000, -300]
    clock.advance(days=32)
    invoice = stripe.v1.invoices.list({"subscription": subscription.id}).data[0]
    assert (invoice.total, amounts(invoice)) == (700, [1000, -300])
    assert stripe.v1.invoice_items.retrieve(item.id).invoice == invoice.id
    with pytest.raises(InvalidRequestError):
        stripe.v1.invoice_items.delete(item.id)


def test_a_preview_of_what_does_not_exist_yet(stripe: StripeClient) -> None:
    customer = a_customer(stripe, None)
    items = [{"price": a_price(stripe, 700).id, "quantity": 2}]
    preview = stripe.v1.invoices.create_preview(
        {"customer": customer.id, "subscription_details": {"items": items}}
    )
    assert preview.total == 1400
    assert stripe.v1.invoices.list({"customer": customer.id}).data == []
    with pytest.raises(InvalidRequestError) as refused:
        stripe.v1.invoices.create_preview({"customer": customer.id})
    assert refused.value.code == "invoice_upcoming_none"


def test_a_preview_for_a_customer_is_of_what_renews_first(stripe: StripeClient) -> None:
    subscription = a_subscription(stripe)
    yearly = [{"price": a_price(stripe, 9000, "year").id}]
    customer = str(subscription.customer)
    stripe.v1.subscriptions.create({"customer": customer, "items": yearly})  # type: ignore[typeddict-item]
    assert stripe.v1.invoices.create_preview({"customer": customer}).total == 1000


def test_a_preview_of_cancelling_and_of_a_trial_that_ends(stripe: StripeClient, clock: Clock) -> None:
    subscription = a_subscription(stripe)
    clock.advance(days=1)
    details = {"cancel_now": True}
    preview = stripe.v1.invoices.create_preview(
        {"subscription": subscription.id, "subscription_details": details}
    )
    assert -1000 < preview.total < 0
    trial = a_subscription(stripe, trial_period_days=7)
    ended = stripe.v1.invoices.create_preview(
        {"subscription": trial.id, "subscription_details": {"trial_end": "now"}}
    )
    assert ended.total == 1000
    assert item_of(stripe.v1.subscriptions.retrieve(trial.id)).current_period_end == trial.trial_end
