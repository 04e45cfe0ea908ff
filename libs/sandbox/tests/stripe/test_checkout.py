"""Checkout and the customer portal, in a browser without scripts."""

import httpx
import pytest
from stripe import InvalidRequestError, StripeClient

from .conftest import Clock
from .factories import a_customer, a_price, a_subscription, event_types

SUCCESS = "https://app.example.com/done?session={CHECKOUT_SESSION_ID}"


def test_a_customer_subscribes_on_the_page(stripe: StripeClient) -> None:
    session = stripe.v1.checkout.sessions.create(
        {
            "mode": "subscription",
            "line_items": [{"price": a_price(stripe, 1900).id, "quantity": 2}],
            "customer": a_customer(stripe, None).id,
            "client_reference_id": "tenant-1",
            "subscription_data": {"metadata": {"tenant": "t1"}},
            "success_url": SUCCESS,
            "cancel_url": "https://app.example.com/plans",
            "expand": ["line_items"],
        }
    )
    assert (session.status, session.payment_status, session.amount_total) == ("open", "unpaid", 3800)
    assert session.line_items.data[0].quantity == 2
    page = httpx.get(session.url, timeout=60)
    assert "38.00 EUR" in page.text
    assert "https://app.example.com/plans" in page.text
    refused = httpx.post(f"{session.url}/complete", data={"card": "pm_card_chargeCustomerFail"}, timeout=60)
    assert "declined" in refused.text
    assert stripe.v1.checkout.sessions.retrieve(session.id).status == "open"
    done = httpx.post(f"{session.url}/complete", data={"card": "pm_card_visa"}, timeout=60)
    assert done.status_code == 303
    assert done.headers["location"] == f"https://app.example.com/done?session={session.id}"
    after = stripe.v1.checkout.sessions.retrieve(session.id, {"expand": ["subscription", "invoice"]})
    assert (after.status, after.payment_status, after.url) == ("complete", "paid", None)
    assert (after.subscription.status, after.subscription.metadata["tenant"]) == ("active", "t1")
    assert after.invoice.amount_paid == 3800
    assert event_types(stripe, session.id) == ["checkout.session.completed"]


def test_tests_complete_a_session_with_one_call(stripe: StripeClient, http: httpx.Client) -> None:
    session = stripe.v1.checkout.sessions.create(
        {
            "mode": "subscription",
            "line_items": [{"price": a_price(stripe).id, "quantity": 1}],
            "customer_email": "new@example.com",
            "subscription_data": {"trial_period_days": 7},
            "success_url": SUCCESS,
        }
    )
    done = http.post(f"/_ctl/checkout/{session.id}/complete").json()
    assert done["payment_status"] == "no_payment_required"
    assert stripe.v1.customers.retrieve(done["customer"]).email == "new@example.com"
    subscription = stripe.v1.subscriptions.retrieve(done["subscription"])
    assert subscription.status == "trialing"
    assert subscription.default_payment_method
    assert http.post(f"/_ctl/checkout/{session.id}/complete").status_code == 400


def test_a_session_can_save_a_card(stripe: StripeClient, http: httpx.Client) -> None:
    customer = a_customer(stripe, None)
    params = {
        "mode": "setup",
        "currency": "eur",
        "customer": customer.id,
        "success_url": SUCCESS,
        "expand": ["setup_intent"],
    }
    session = stripe.v1.checkout.sessions.create(params)  # type: ignore[arg-type]
    assert session.setup_intent.status == "requires_payment_method"
    http.post(f"/_ctl/checkout/{session.id}/complete", json={"payment_method": "pm_card_mastercard"})
    intent = stripe.v1.setup_intents.retrieve(session.setup_intent.id)
    assert intent.status == "succeeded"
    assert [each.card.last4 for each in stripe.v1.customers.payment_methods.list(customer.id).data] == [
        "4444"
    ]
    assert intent.payment_method in {
        each.id for each in stripe.v1.customers.payment_methods.list(customer.id).data
    }


def test_sessions_expire(stripe: StripeClient, clock: Clock) -> None:
    params = {"mode": "setup", "currency": "eur", "success_url": SUCCESS}
    first, second = (stripe.v1.checkout.sessions.create(params).id for _ in range(2))  # type: ignore[arg-type]
    assert stripe.v1.checkout.sessions.expire(first).status == "expired"
    clock.advance(days=1)
    assert stripe.v1.checkout.sessions.retrieve(second).status == "expired"
    assert event_types(stripe, second) == ["checkout.session.expired"]


def test_only_what_is_simulated_can_be_created(stripe: StripeClient) -> None:
    for params in ({"mode": "payment"}, {"mode": "subscription", "allow_promotion_codes": True}):
        with pytest.raises(InvalidRequestError) as refused:
            stripe.v1.checkout.sessions.create({"success_url": SUCCESS, **params})  # type: ignore[typeddict-item]
        assert refused.value.code == "not_supported_by_sandbox"


def test_a_customer_cancels_and_keeps_in_the_portal(stripe: StripeClient) -> None:
    with pytest.raises(InvalidRequestError, match="No configuration"):
        stripe.v1.billing_portal.sessions.create({"customer": a_customer(stripe).id})
    enabled = {"enabled": True}
    features = {"subscription_cancel": enabled, "invoice_history": enabled, "payment_method_update": enabled}
    configuration = stripe.v1.billing_portal.configurations.create({"features": features})  # type: ignore[typeddict-item]
    assert configuration.is_default
    assert configuration.features.subscription_cancel.mode == "at_period_end"
    subscription = a_subscription(stripe)
    session = stripe.v1.billing_portal.sessions.create(
        {"customer": str(subscription.customer), "return_url": "https://app.example.com/billing"}
    )
    page = httpx.get(session.url, timeout=60)
    assert "Cancel subscription" in page.text
    assert subscription.latest_invoice.number in page.text
    assert "https://app.example.com/billing" in page.text
    after = httpx.post(f"{session.url}/{subscription.id}/cancel", follow_redirects=True, timeout=60)
    assert "Do not cancel" in after.text
    assert stripe.v1.subscriptions.retrieve(subscription.id).cancel_at_period_end
    httpx.post(f"{session.url}/{subscription.id}/resume", timeout=60)
    assert not stripe.v1.subscriptions.retrieve(subscription.id).cancel_at_period_end
    httpx.post(f"{session.url}/card", data={"card": "pm_card_amex"}, timeout=60)
    customer = stripe.v1.customers.retrieve(
        subscription.customer, {"expand": ["invoice_settings.default_payment_method"]}
    )
    assert customer.invoice_settings.default_payment_method.card.brand == "amex"
    stripe.v1.billing_portal.configurations.update(
        configuration.id, {"features": {"subscription_cancel": {"enabled": False}}}
    )
    assert httpx.post(f"{session.url}/{subscription.id}/cancel", timeout=60).status_code == 400
