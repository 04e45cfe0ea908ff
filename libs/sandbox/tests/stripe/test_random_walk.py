"""Whatever is done to subscriptions in whatever order, the sums are right."""

from contextlib import suppress
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stripe import CardError, InvalidRequestError, StripeClient

from .conftest import Clock
from .factories import a_customer, a_price, amounts, item_of

COMMANDS = st.lists(
    st.one_of(
        st.tuples(st.just("advance"), st.integers(1, 40)),
        st.tuples(st.just("price"), st.integers(0, 2)),
        st.tuples(st.just("seats"), st.integers(0, 9)),
        st.tuples(st.just("card"), st.sampled_from(["pm_card_visa", "pm_card_chargeCustomerFail"])),
        st.tuples(st.just("end"), st.booleans()),
        st.tuples(st.just("pause"), st.just(0)),
        st.tuples(st.just("resume"), st.just(0)),
        st.tuples(st.just("cancel"), st.booleans()),
    ),
    max_size=12,
)


@pytest.fixture(scope="module")
def prices(stripe: StripeClient) -> list[str]:
    return [a_price(stripe, 999).id, a_price(stripe, 4900).id, a_price(stripe, 10_007, "year").id]


def perform(
    stripe: StripeClient, clock: Clock, subscription_id: str, prices: list[str], command: str, value: Any
) -> None:
    subscription = stripe.v1.subscriptions.retrieve(subscription_id)
    item = item_of(subscription).id
    update = stripe.v1.subscriptions.update
    if command == "advance":
        clock.advance(days=value)
    elif command == "price":
        update(
            subscription_id,
            {"items": [{"id": item, "price": prices[value]}], "proration_behavior": "always_invoice"},
        )
    elif command == "seats":
        update(subscription_id, {"items": [{"id": item, "quantity": value}]})
    elif command == "card":
        update(subscription_id, {"default_payment_method": value})
    elif command == "end":
        update(subscription_id, {"cancel_at_period_end": value})
    elif command == "cancel":
        stripe.v1.subscriptions.cancel(subscription_id, {"prorate": value, "invoice_now": value})
    else:
        (stripe.v1.subscriptions.pause if command == "pause" else stripe.v1.subscriptions.resume)(
            subscription_id
        )


@settings(
    max_examples=25, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(commands=COMMANDS, trial=st.integers(0, 10))
def test_sums_are_right_whatever_happens(
    stripe: StripeClient, http: httpx.Client, clock: Clock, prices: list[str], commands: list[Any], trial: int
) -> None:
    customer = a_customer(stripe).id
    created = stripe.v1.subscriptions.create(
        {"customer": customer, "items": [{"price": prices[0]}], "trial_period_days": trial}
    )
    for command, value in commands:
        with suppress(InvalidRequestError, CardError):
            perform(stripe, clock, created.id, prices, command, value)
    invoices = list(stripe.v1.invoices.list({"customer": customer, "limit": 100}).auto_paging_iter())
    for invoice in invoices:
        assert invoice.total == sum(amounts(invoice)) == invoice.subtotal
        assert invoice.amount_due == max(0, invoice.total + invoice.starting_balance)
        if invoice.status == "paid":
            assert invoice.amount_paid == invoice.amount_due
            assert invoice.ending_balance == invoice.total + invoice.starting_balance - invoice.amount_due
    numbers = [invoice.number for invoice in invoices if invoice.number]
    assert len(numbers) == len(set(numbers))
    finals = [invoice for invoice in invoices if invoice.number]
    credit = sum(invoice.ending_balance - invoice.starting_balance for invoice in finals)
    assert stripe.v1.customers.retrieve(customer).balance == credit
    subscription = stripe.v1.subscriptions.retrieve(created.id)
    if subscription.status in {"active", "trialing", "past_due"}:
        assert (
            item_of(subscription).current_period_start
            <= clock.now()
            < item_of(subscription).current_period_end
        )
    cycles = [invoice for invoice in invoices if invoice.billing_reason == "subscription_cycle"]
    starts = [invoice.period_start for invoice in cycles]
    assert len(starts) == len(set(starts))
    with suppress(InvalidRequestError):
        stripe.v1.subscriptions.cancel(created.id)
