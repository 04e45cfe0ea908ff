"""The life of a subscription, as the official SDK sees it."""

import httpx
import pytest
from stripe import CardError, InvalidRequestError, StripeClient

from .conftest import Clock
from .factories import a_customer, a_price, a_subscription, amounts, event_types, item_of

DAY = 24 * 3600


def test_a_first_period_is_billed_and_paid_at_once(stripe: StripeClient) -> None:
    subscription = a_subscription(stripe, metadata={"tenant": "t1"})
    assert subscription.status == "active"
    invoice = subscription.latest_invoice
    assert (invoice.status, invoice.total, invoice.amount_paid) == ("paid", 1000, 1000)
    assert invoice.billing_reason == "subscription_create"
    assert invoice.parent.subscription_details.subscription == subscription.id
    assert invoice.parent.subscription_details.metadata["tenant"] == "t1"
    assert "current_period_end" not in subscription
    assert "subscription" not in invoice
    assert item_of(subscription).current_period_end - subscription.created in {
        28 * DAY,
        29 * DAY,
        30 * DAY,
        31 * DAY,
    }
    assert event_types(stripe, subscription.id) == ["customer.subscription.created"]
    assert "invoice.paid" in event_types(stripe, invoice.id)


def test_a_customer_needs_a_card_where_something_is_due(stripe: StripeClient) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        a_subscription(stripe, card=None)
    assert refused.value.code == "resource_missing"


def test_a_refused_card_leaves_it_incomplete_until_another_pays(stripe: StripeClient) -> None:
    subscription = a_subscription(stripe, card="pm_card_chargeCustomerFail")
    assert subscription.status == "incomplete"
    with pytest.raises(CardError) as refused:
        stripe.v1.invoices.pay(subscription.latest_invoice.id)
    assert (refused.value.code, refused.value.http_status) == ("card_declined", 402)
    paid = stripe.v1.invoices.pay(subscription.latest_invoice.id, {"payment_method": "pm_card_visa"})
    assert paid.status == "paid"
    assert stripe.v1.subscriptions.retrieve(subscription.id).status == "active"


def test_error_if_incomplete_creates_nothing(stripe: StripeClient) -> None:
    customer = a_customer(stripe, "pm_card_chargeCustomerFail")
    items = [{"price": a_price(stripe).id}]
    with pytest.raises(CardError):
        stripe.v1.subscriptions.create(
            {"customer": customer.id, "items": items, "payment_behavior": "error_if_incomplete"}
        )
    assert stripe.v1.subscriptions.list({"customer": customer.id, "status": "all"}).data == []
    assert stripe.v1.invoices.list({"customer": customer.id}).data == []


def test_default_incomplete_waits_for_the_browser(stripe: StripeClient) -> None:
    expand = ["latest_invoice.confirmation_secret", "latest_invoice.payments.data.payment.payment_intent"]
    subscription = a_subscription(stripe, payment_behavior="default_incomplete", expand=expand)
    assert subscription.status == "incomplete"
    intent = subscription.latest_invoice.payments.data[0].payment.payment_intent
    assert subscription.latest_invoice.confirmation_secret.client_secret == intent.client_secret
    stripe.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})
    assert stripe.v1.subscriptions.retrieve(subscription.id).status == "active"


def test_a_card_may_ask_for_authentication(stripe: StripeClient, http: httpx.Client) -> None:
    expand = ["latest_invoice.payments"]
    subscription = a_subscription(stripe, card="pm_card_authenticationRequired", expand=expand)
    assert subscription.status == "incomplete"
    assert "invoice.payment_action_required" in event_types(stripe, subscription.latest_invoice.id)
    intent = subscription.latest_invoice.payments.data[0].payment.payment_intent
    http.post(f"/_ctl/payment_intents/{intent}/authenticate").raise_for_status()
    assert stripe.v1.subscriptions.retrieve(subscription.id).status == "active"


def test_an_incomplete_one_expires_after_23_hours(stripe: StripeClient, clock: Clock) -> None:
    subscription = a_subscription(stripe, payment_behavior="default_incomplete")
    clock.advance(hours=23)
    assert stripe.v1.subscriptions.retrieve(subscription.id).status == "incomplete_expired"
    assert stripe.v1.invoices.retrieve(subscription.latest_invoice.id).status == "void"


def test_a_trial_is_free_then_billed(stripe: StripeClient, clock: Clock) -> None:
    subscription = a_subscription(stripe, trial_period_days=7)
    assert (subscription.status, subscription.latest_invoice.total) == ("trialing", 0)
    assert (
        item_of(subscription).current_period_end == subscription.trial_end == subscription.created + 7 * DAY
    )
    clock.advance(days=4)
    assert "customer.subscription.trial_will_end" in event_types(stripe, subscription.id)
    clock.advance(days=3)
    renewed = stripe.v1.subscriptions.retrieve(subscription.id, {"expand": ["latest_invoice"]})
    assert (renewed.status, renewed.latest_invoice.status) == ("active", "draft")
    clock.advance(hours=1)
    invoice = stripe.v1.invoices.retrieve(renewed.latest_invoice.id)
    assert (invoice.status, invoice.total, invoice.billing_reason) == ("paid", 1000, "subscription_cycle")


@pytest.mark.parametrize(
    ("behavior", "status"), [("cancel", "canceled"), ("pause", "paused"), ("create_invoice", "past_due")]
)
def test_a_trial_may_end_without_a_card(
    stripe: StripeClient, clock: Clock, behavior: str, status: str
) -> None:
    settings = {"end_behavior": {"missing_payment_method": behavior}}
    subscription = a_subscription(stripe, card=None, trial_period_days=1, trial_settings=settings)
    assert subscription.pending_setup_intent
    clock.advance(days=1, hours=2)
    assert stripe.v1.subscriptions.retrieve(subscription.id).status == status


def test_a_trial_ends_on_request(stripe: StripeClient) -> None:
    subscription = a_subscription(stripe, trial_period_days=7)
    ended = stripe.v1.subscriptions.update(
        subscription.id, {"trial_end": "now", "expand": ["latest_invoice"]}
    )
    assert ended.status == "active"
    assert (ended.latest_invoice.status, ended.latest_invoice.total) == ("paid", 1000)


def test_the_anchors_day_survives_short_months(stripe: StripeClient, clock: Clock) -> None:
    subscription = a_subscription(stripe)
    ends = []
    for _ in range(3):
        ends.append(item_of(stripe.v1.subscriptions.retrieve(subscription.id)).current_period_end)
        clock.advance(days=31)
    anchor = subscription.billing_cycle_anchor
    gaps = [(end - anchor) // DAY for end in ends]
    assert all(27 < later - sooner < 32 for sooner, later in zip([0, *gaps], gaps, strict=False))
    assert len(stripe.v1.invoices.list({"subscription": subscription.id}).data) == 4


def test_a_failing_renewal_is_tried_four_times(
    stripe: StripeClient, http: httpx.Client, clock: Clock
) -> None:
    subscription = a_subscription(stripe)
    bad = stripe.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": subscription.customer})
    stripe.v1.subscriptions.update(subscription.id, {"default_payment_method": bad.id})
    clock.advance(days=31, hours=2)
    late = stripe.v1.subscriptions.retrieve(subscription.id, {"expand": ["latest_invoice"]})
    assert (late.status, late.latest_invoice.attempt_count) == ("past_due", 1)
    assert late.latest_invoice.next_payment_attempt
    clock.advance(days=9)
    invoice = stripe.v1.invoices.retrieve(late.latest_invoice.id)
    assert (invoice.attempt_count, invoice.next_payment_attempt, invoice.status) == (4, None, "open")
    assert stripe.v1.subscriptions.retrieve(subscription.id).status == "canceled"
    assert event_types(stripe, subscription.id)[-1] == "customer.subscription.deleted"


def test_dunning_may_end_in_unpaid_and_be_made_good(
    stripe: StripeClient, http: httpx.Client, clock: Clock
) -> None:
    http.post("/_ctl/rules", json={"after_dunning": "unpaid", "retry_days": [1]}).raise_for_status()
    subscription = a_subscription(stripe)
    bad = stripe.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": subscription.customer})
    stripe.v1.subscriptions.update(subscription.id, {"default_payment_method": bad.id})
    clock.advance(days=33)
    unpaid = stripe.v1.subscriptions.retrieve(subscription.id)
    assert unpaid.status == "unpaid"
    stripe.v1.invoices.pay(unpaid.latest_invoice, {"payment_method": "pm_card_visa"})
    assert stripe.v1.subscriptions.retrieve(subscription.id).status == "active"
    http.post("/_ctl/rules", json={"after_dunning": "canceled", "retry_days": [1, 3, 5]}).raise_for_status()


def test_an_upgrade_is_prorated_to_the_second(stripe: StripeClient, clock: Clock) -> None:
    subscription = a_subscription(stripe, a_price(stripe, 1900))
    clock.advance(days=10)
    item, pro = item_of(subscription), a_price(stripe, 4900)
    moment, whole = clock.now(), item.current_period_end - item.current_period_start
    change = {
        "items": [{"id": item.id, "price": pro.id}],
        "proration_behavior": "always_invoice",
        "proration_date": moment,
    }
    preview = stripe.v1.invoices.create_preview(
        {"subscription": subscription.id, "subscription_details": change}
    )
    part = (item.current_period_end - moment) / whole
    assert amounts(preview) == [-round(1900 * part), round(4900 * part)]
    changed = stripe.v1.subscriptions.update(subscription.id, {**change, "expand": ["latest_invoice"]})
    invoice = changed.latest_invoice
    assert amounts(invoice) == amounts(preview)
    assert invoice.total == preview.total == sum(amounts(invoice))
    assert (invoice.billing_reason, invoice.status) == ("subscription_update", "paid")
    assert all(line.parent.subscription_item_details.proration for line in invoice.lines.data)
    assert item_of(changed).price.id == pro.id
    assert item_of(changed).id == item.id
    assert item_of(changed).current_period_end == item.current_period_end


def test_prorations_wait_for_the_next_invoice_by_default(stripe: StripeClient, clock: Clock) -> None:
    subscription = a_subscription(stripe)
    clock.advance(days=5)
    item = {"id": item_of(subscription).id, "quantity": 3}
    stripe.v1.subscriptions.update(subscription.id, {"items": [item]})
    preview = stripe.v1.invoices.create_preview({"subscription": subscription.id})
    assert amounts(preview)[0] == 3000
    assert len(amounts(preview)) == 3
    clock.advance(days=27)
    renewal = stripe.v1.invoices.list({"subscription": subscription.id}).data[0]
    assert (renewal.total, renewal.status) == (preview.total, "paid")
    untouched = a_subscription(stripe)
    item = {"id": item_of(untouched).id, "quantity": 3}
    stripe.v1.subscriptions.update(untouched.id, {"items": [item], "proration_behavior": "none"})
    assert amounts(stripe.v1.invoices.create_preview({"subscription": untouched.id})) == [3000]


def test_another_interval_starts_a_new_period(stripe: StripeClient, clock: Clock) -> None:
    subscription = a_subscription(stripe)
    clock.advance(days=1)
    yearly = a_price(stripe, 10_000, "year")
    item = {"id": item_of(subscription).id, "price": yearly.id}
    changed = stripe.v1.subscriptions.update(subscription.id, {"items": [item], "expand": ["latest_invoice"]})
    assert changed.billing_cycle_anchor == item_of(changed).current_period_start > subscription.created
    credit, charge = amounts(changed.latest_invoice)
    assert credit < 0
    assert charge == 10_000


def test_a_downgrade_becomes_credit(stripe: StripeClient) -> None:
    subscription = a_subscription(stripe, a_price(stripe, 5000))
    item = {"id": item_of(subscription).id, "price": a_price(stripe, 1000).id}
    changed = stripe.v1.subscriptions.update(
        subscription.id,
        {"items": [item], "proration_behavior": "always_invoice", "expand": ["latest_invoice"]},
    )
    assert (changed.latest_invoice.total, changed.latest_invoice.amount_due) == (-4000, 0)
    assert stripe.v1.customers.retrieve(subscription.customer).balance == -4000


def test_cancelling_at_the_end_can_be_taken_back(stripe: StripeClient, clock: Clock) -> None:
    subscription = a_subscription(stripe)
    ending = stripe.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    assert ending.cancel_at == item_of(ending).current_period_end
    assert ending.status == "active"
    back = stripe.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": False})
    assert (back.cancel_at, back.canceled_at) == (None, None)
    stripe.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    clock.advance(days=32)
    ended = stripe.v1.subscriptions.retrieve(subscription.id)
    assert (ended.status, ended.ended_at) == ("canceled", ending.cancel_at)


def test_cancelling_twice_is_refused_as_stripe_does(stripe: StripeClient) -> None:
    subscription = a_subscription(stripe)
    gone = stripe.v1.subscriptions.cancel(subscription.id, {"cancellation_details": {"comment": "bye"}})
    assert (gone.status, gone.cancellation_details.comment) == ("canceled", "bye")
    with pytest.raises(InvalidRequestError) as refused:
        stripe.v1.subscriptions.cancel(subscription.id)
    assert (refused.value.http_status, refused.value.code) == (404, "resource_missing")
    with pytest.raises(InvalidRequestError, match="canceled subscription"):
        stripe.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True})


def test_cancelling_may_credit_what_was_not_used(stripe: StripeClient, clock: Clock) -> None:
    subscription = a_subscription(stripe, a_price(stripe, 3000))
    clock.advance(days=10)
    stripe.v1.subscriptions.cancel(subscription.id, {"prorate": True, "invoice_now": True})
    assert -2100 < stripe.v1.customers.retrieve(subscription.customer).balance < -1900


def test_pausing_credits_and_resuming_starts_anew(stripe: StripeClient, clock: Clock) -> None:
    subscription = a_subscription(stripe, a_price(stripe, 3000))
    clock.advance(days=10)
    paused = stripe.v1.subscriptions.pause(subscription.id)
    assert paused.status == "paused"
    assert paused.status_details.paused.subscription.type == "pause_requested"
    assert "customer.subscription.paused" in event_types(stripe, subscription.id)
    clock.advance(days=60)
    assert stripe.v1.subscriptions.retrieve(subscription.id).status == "paused"
    resumed = stripe.v1.subscriptions.resume(subscription.id, {"expand": ["latest_invoice"]})
    assert (resumed.status, resumed.status_details) == ("active", None)
    charge, credit = amounts(resumed.latest_invoice)
    assert charge == 3000
    assert -2100 < credit < -1900
    assert "customer.subscription.resumed" in event_types(stripe, subscription.id)
    with pytest.raises(InvalidRequestError, match="paused"):
        stripe.v1.subscriptions.resume(subscription.id)


@pytest.mark.parametrize(
    ("behavior", "status"),
    [("void", "void"), ("mark_uncollectible", "uncollectible"), ("keep_as_draft", "draft")],
)
def test_collection_may_pause(stripe: StripeClient, clock: Clock, behavior: str, status: str) -> None:
    subscription = a_subscription(stripe)
    stripe.v1.subscriptions.update(subscription.id, {"pause_collection": {"behavior": behavior}})
    clock.advance(days=32)
    assert stripe.v1.invoices.list({"subscription": subscription.id}).data[0].status == status
    assert stripe.v1.subscriptions.update(subscription.id, {"pause_collection": ""}).pause_collection is None


def test_updates_say_what_was_before(stripe: StripeClient) -> None:
    subscription = a_subscription(stripe, metadata={"a": "1"})
    stripe.v1.subscriptions.update(subscription.id, {"metadata": {"a": "2", "b": "3"}})
    event = stripe.v1.events.list({"type": "customer.subscription.updated"}).data[0]
    assert event.data.previous_attributes.to_dict() == {"metadata": {"a": "1", "b": None}}
    assert event.data.object.metadata.to_dict() == {"a": "2", "b": "3"}
    assert event.request.id.startswith("req_")


def test_what_is_not_simulated_is_refused(stripe: StripeClient) -> None:
    for params in (
        {"collection_method": "send_invoice", "days_until_due": 3},
        {"discounts": [{"coupon": "x"}]},
    ):
        with pytest.raises(InvalidRequestError) as refused:
            a_subscription(stripe, **params)
        assert refused.value.code == "not_supported_by_sandbox"


def test_items_that_cannot_be_billed_together_are_refused(stripe: StripeClient) -> None:
    monthly, yearly = a_price(stripe), a_price(stripe, interval="year")
    for items in (
        [{"price": monthly.id}, {"price": monthly.id}],
        [{"price": monthly.id}, {"price": yearly.id}],
        [{"price": "price_none"}],
    ):
        with pytest.raises(InvalidRequestError):
            a_subscription(stripe, items=items)


def test_items_can_be_changed_one_by_one(stripe: StripeClient) -> None:
    subscription = a_subscription(stripe)
    item = item_of(subscription)
    params = {"quantity": 4, "proration_behavior": "none"}
    assert stripe.v1.subscription_items.update(item.id, params).quantity == 4  # type: ignore[arg-type]
    added = stripe.v1.subscription_items.create(
        {"subscription": subscription.id, "price": a_price(stripe).id}
    )
    listed = stripe.v1.subscription_items.list({"subscription": subscription.id}).data
    assert [each.id for each in listed] == [item.id, added.id]
    stripe.v1.subscription_items.delete(added.id, {"proration_behavior": "none"})
    with pytest.raises(InvalidRequestError, match="at least one"):
        stripe.v1.subscription_items.delete(item.id)


def test_a_customers_end_is_the_end_of_what_it_subscribes_to(stripe: StripeClient, clock: Clock) -> None:
    subscription = a_subscription(stripe)
    clock.advance(days=31)
    customer = str(subscription.customer)
    stripe.v1.customers.delete(customer)
    assert stripe.v1.subscriptions.retrieve(subscription.id).status == "canceled"
    assert stripe.v1.customers.retrieve(customer).deleted
    assert event_types(stripe, customer)[-1] == "customer.deleted"
    clock.advance(days=31)
    with pytest.raises(InvalidRequestError, match="No such customer"):
        stripe.v1.subscriptions.create({"customer": customer, "items": [{"price": a_price(stripe).id}]})


def test_what_was_bought_before_a_change_is_not_credited_in_a_trial(stripe: StripeClient) -> None:
    subscription = a_subscription(stripe, trial_period_days=7)
    item = {"id": item_of(subscription).id, "price": a_price(stripe, 9000).id}
    changed = stripe.v1.subscriptions.update(
        subscription.id, {"items": [item], "proration_behavior": "always_invoice"}
    )
    assert changed.status == "trialing"
    assert amounts(stripe.v1.invoices.create_preview({"subscription": subscription.id})) == [9000]
    stripe.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    with pytest.raises(InvalidRequestError) as refused:
        stripe.v1.invoices.create_preview({"subscription": subscription.id})
    assert (refused.value.code, refused.value.http_status) == ("invoice_upcoming_none", 404)
