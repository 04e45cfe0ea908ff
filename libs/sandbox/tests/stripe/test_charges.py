"""Charges, refunds and disputes."""

import httpx
import pytest
from stripe import CardError, InvalidRequestError, StripeClient

from .factories import a_subscription, event_types


def test_a_payment_has_a_charge_that_can_be_refunded(stripe: StripeClient) -> None:
    subscription = a_subscription(stripe, expand=["latest_invoice.payments.data.payment.payment_intent"])
    intent = subscription.latest_invoice.payments.data[0].payment.payment_intent
    charge = stripe.v1.charges.retrieve(intent.latest_charge)
    assert (charge.amount, charge.status, charge.payment_method_details.card.last4) == (
        1000,
        "succeeded",
        "4242",
    )
    stripe.v1.refunds.create({"charge": charge.id, "amount": 300})
    assert stripe.v1.refunds.create({"payment_intent": intent.id}).amount == 700
    refunded = stripe.v1.charges.retrieve(charge.id, {"expand": ["refunds"]})
    assert (refunded.amount_refunded, refunded.refunded) == (1000, True)
    assert [refund.amount for refund in refunded.refunds.data] == [700, 300]
    assert event_types(stripe, charge.id) == ["charge.succeeded", "charge.refunded", "charge.refunded"]
    with pytest.raises(InvalidRequestError) as refused:
        stripe.v1.refunds.create({"charge": charge.id})
    assert refused.value.code == "charge_already_refunded"


def test_a_refusal_is_a_charge_that_failed(stripe: StripeClient) -> None:
    subscription = a_subscription(stripe, card="pm_card_chargeCustomerFail")
    charge = stripe.v1.charges.list({"customer": str(subscription.customer)}).data[0]
    assert (charge.status, charge.failure_code, charge.paid) == ("failed", "card_declined", False)
    with pytest.raises(CardError):
        stripe.v1.invoices.pay(subscription.latest_invoice.id)
    assert len(stripe.v1.charges.list({"customer": str(subscription.customer)}).data) == 2


def test_a_charge_can_be_disputed(stripe: StripeClient, http: httpx.Client) -> None:
    subscription = a_subscription(stripe)
    charge = stripe.v1.charges.list({"customer": str(subscription.customer)}).data[0]
    dispute = http.post(f"/_ctl/charges/{charge.id}/dispute").json()
    assert stripe.v1.disputes.retrieve(dispute["id"]).status == "needs_response"
    http.post(f"/_ctl/disputes/{dispute['id']}/close", params={"status": "won"}).raise_for_status()
    assert stripe.v1.disputes.list({"charge": charge.id}).data[0].status == "won"
    assert event_types(stripe, dispute["id"]) == ["charge.dispute.created", "charge.dispute.closed"]
