"""Usage: meters, their events and summaries, and what they cost."""

from uuid import uuid4

import pytest
from stripe import InvalidRequestError, StripeClient

from .conftest import Clock, client
from .factories import a_customer, a_price, a_subscription, amounts, event_types

DAY, HOUR = 24 * 3600, 3600


def a_meter(stripe: StripeClient, formula: str = "sum") -> tuple[str, str]:
    """The id and the event's name of a new meter."""
    name = f"tokens_{uuid4().hex}"
    params = {"display_name": "Tokens", "event_name": name, "default_aggregation": {"formula": formula}}
    return stripe.v1.billing.meters.create(params).id, name  # type: ignore[arg-type]


def report(stripe: StripeClient, name: str, customer: str, value: int | str, **params: object) -> str:
    payload = {"stripe_customer_id": customer, "value": str(value)}
    event = {"event_name": name, "payload": payload, **params}
    return stripe.v1.billing.meter_events.create(event).identifier  # type: ignore[arg-type]


def usage(stripe: StripeClient, clock: Clock, meter: str, customer: str) -> list[float]:
    now = clock.now()
    params = {
        "customer": customer,
        "start_time": (now - 2 * DAY) // 60 * 60,
        "end_time": (now // 60 + 10) * 60,
    }
    return [each.aggregated_value for each in stripe.v1.billing.meters.event_summaries.list(meter, params)]  # type: ignore[arg-type]


@pytest.mark.parametrize(("formula", "total"), [("sum", 42), ("count", 3), ("last", 30)])
def test_meters_aggregate(stripe: StripeClient, clock: Clock, formula: str, total: int) -> None:
    meter, name = a_meter(stripe, formula)
    customer = a_customer(stripe, None).id
    report(stripe, name, customer, 30, timestamp=clock.now())
    report(stripe, name, customer, 5, timestamp=clock.now() - HOUR)
    report(stripe, name, customer, 7, timestamp=clock.now() - 2 * HOUR)
    report(stripe, name, a_customer(stripe, None).id, 1000)
    assert usage(stripe, clock, meter, customer) == [total]


def test_summaries_by_hour_and_by_day(stripe: StripeClient, clock: Clock) -> None:
    meter, name = a_meter(stripe)
    customer = a_customer(stripe, None).id
    day = clock.now() // DAY * DAY - DAY
    for hours, value in ((1, 10), (1, 5), (3, 7)):
        report(stripe, name, customer, value, timestamp=day + hours * HOUR)
    bounds = {"customer": customer, "start_time": day, "end_time": day + DAY}
    by_hour = stripe.v1.billing.meters.event_summaries.list(meter, bounds | {"value_grouping_window": "hour"})  # type: ignore[arg-type]
    assert [(each.start_time - day, each.aggregated_value) for each in by_hour.data] == [
        (3 * HOUR, 7),
        (HOUR, 15),
    ]
    by_day = stripe.v1.billing.meters.event_summaries.list(meter, bounds | {"value_grouping_window": "day"})  # type: ignore[arg-type]
    assert [each.aggregated_value for each in by_day.data] == [22]
    skewed = bounds | {"start_time": day + 60, "value_grouping_window": "hour"}
    with pytest.raises(InvalidRequestError, match="hour boundaries"):
        stripe.v1.billing.meters.event_summaries.list(meter, skewed)  # type: ignore[arg-type]


def test_wrong_events_are_refused(stripe: StripeClient, clock: Clock) -> None:
    _, name = a_meter(stripe)
    customer = a_customer(stripe, None).id
    first = report(stripe, name, customer, 1)

    def code(**params: object) -> str | None:
        event = {"event_name": name, "payload": {"stripe_customer_id": customer, "value": "1"}, **params}
        with pytest.raises(InvalidRequestError) as refused:
            stripe.v1.billing.meter_events.create(event)  # type: ignore[arg-type]
        return refused.value.code

    assert code(identifier=first) == "duplicate_meter_event"
    assert code(timestamp=clock.now() - 36 * DAY) == "timestamp_too_far_in_past"
    assert code(timestamp=clock.now() + 600) == "timestamp_in_future"
    assert code(event_name="unknown") == "no_meter"
    assert code(payload={"stripe_customer_id": customer}) == "meter_event_invalid_value"
    assert code(payload={"stripe_customer_id": customer, "value": "many"}) == "meter_event_invalid_value"
    assert code(payload={"value": "1"}) == "meter_event_no_customer_defined"
    assert code(values={"a": "1"}) == "parameter_unknown"


def test_meters_can_be_deactivated(stripe: StripeClient) -> None:
    meter, name = a_meter(stripe)
    assert stripe.v1.billing.meters.update(meter, {"display_name": "Renamed"}).display_name == "Renamed"
    assert stripe.v1.billing.meters.deactivate(meter).status == "inactive"
    with pytest.raises(InvalidRequestError):
        report(stripe, name, a_customer(stripe, None).id, 1)
    assert meter in {each.id for each in stripe.v1.billing.meters.list({"status": "inactive"}).data}
    assert stripe.v1.billing.meters.reactivate(meter).status == "active"


def test_the_second_api_and_its_stream_count_too(stripe: StripeClient, stripe_url: str, clock: Clock) -> None:
    meter, name = a_meter(stripe)
    customer = a_customer(stripe, None).id
    payload = {"stripe_customer_id": customer, "value": "3"}
    event = stripe.v2.billing.meter_events.create({"event_name": name, "payload": payload})
    assert event.object == "v2.billing.meter_event"
    session = stripe.v2.billing.meter_event_session.create()
    stream = client(stripe_url, session.authentication_token)
    events = [{"event_name": name, "payload": payload, "identifier": str(uuid4())} for _ in range(5)]
    stream.v2.billing.meter_event_stream.create({"events": events})  # type: ignore[typeddict-item]
    assert usage(stripe, clock, meter, customer) == [18]


def test_an_event_can_be_canceled_within_a_day(stripe: StripeClient, clock: Clock) -> None:
    meter, name = a_meter(stripe)
    customer = a_customer(stripe, None).id
    first, second = report(stripe, name, customer, 4), report(stripe, name, customer, 6)
    cancel = {"event_name": name, "type": "cancel", "cancel": {"identifier": first}}
    assert stripe.v1.billing.meter_event_adjustments.create(cancel).status == "complete"  # type: ignore[arg-type]
    assert usage(stripe, clock, meter, customer) == [6]
    with pytest.raises(InvalidRequestError, match="already canceled"):
        stripe.v1.billing.meter_event_adjustments.create(cancel)  # type: ignore[arg-type]
    clock.advance(days=1)
    late = {"event_name": name, "type": "cancel", "cancel": {"identifier": second}}
    with pytest.raises(InvalidRequestError, match="24 hours"):
        stripe.v2.billing.meter_event_adjustments.create(late)  # type: ignore[arg-type]


def test_an_unknown_customer_is_reported_by_event(stripe: StripeClient) -> None:
    meter, name = a_meter(stripe)
    report(stripe, name, "cus_unknown", 1)
    event = stripe.v2.core.events.list({"object_id": meter}).data[0]
    assert event.type == "v1.billing.meter.error_report_triggered"
    assert (
        stripe.v2.core.events.retrieve(event.id).data.reason.error_types[0].code
        == "meter_event_customer_not_found"
    )  # type: ignore[union-attr]


def test_usage_is_billed_with_the_next_period(stripe: StripeClient, clock: Clock) -> None:
    meter, name = a_meter(stripe)
    metered = {
        "unit_amount": None,
        "unit_amount_decimal": "0.5",
        "recurring": {"interval": "month", "usage_type": "metered", "meter": meter},
    }
    price = a_price(stripe, **metered)
    items = [{"price": a_price(stripe, 4900).id}, {"price": price.id}]
    subscription = a_subscription(stripe, items=items)
    assert amounts(subscription.latest_invoice) == [4900]
    report(stripe, name, subscription.customer, 301)
    preview = stripe.v1.invoices.create_preview({"subscription": subscription.id})
    assert amounts(preview) == [4900, 151]
    end = subscription["items"].data[0].current_period_end
    clock.advance(hours=(end - clock.now()) / 3600)
    report(stripe, name, subscription.customer, 99, timestamp=end - 1)
    report(stripe, name, subscription.customer, 1000, timestamp=end)
    clock.advance(hours=1)
    invoice = stripe.v1.invoices.list({"subscription": subscription.id}).data[0]
    assert (invoice.status, invoice.total) == ("paid", 5100)
    licensed, used = invoice.lines.data
    assert (licensed.amount, used.amount, used.quantity) == (4900, 200, 400)
    assert (used.period.start, used.period.end) == (subscription.created, end)
    assert (licensed.period.start, str(used.pricing.unit_amount_decimal)) == (end, "0.5")


@pytest.mark.parametrize(("mode", "cost"), [("graduated", 500), ("volume", 2000)])
def test_tiers_make_a_part_free(stripe: StripeClient, mode: str, cost: int) -> None:
    meter, name = a_meter(stripe)
    tiers = [
        {"up_to": 1000, "unit_amount": 0},
        {"up_to": "inf", "unit_amount_decimal": "0.5" if mode == "graduated" else "1"},
    ]
    price = a_price(
        stripe,
        unit_amount=None,
        billing_scheme="tiered",
        tiers_mode=mode,
        tiers=tiers,
        recurring={"interval": "month", "usage_type": "metered", "meter": meter},
        expand=["tiers"],
    )
    assert [tier.up_to for tier in price.tiers] == [1000, None]
    subscription = a_subscription(stripe, price)
    assert subscription.latest_invoice.total == 0
    report(stripe, name, subscription.customer, 2000)
    assert amounts(stripe.v1.invoices.create_preview({"subscription": subscription.id})) == [cost]


def test_cancelling_can_bill_what_was_used(stripe: StripeClient, clock: Clock) -> None:
    meter, name = a_meter(stripe)
    price = a_price(stripe, 2, recurring={"interval": "month", "usage_type": "metered", "meter": meter})
    subscription = a_subscription(stripe, price)
    report(stripe, name, subscription.customer, 10)
    clock.advance(hours=1)
    stripe.v1.subscriptions.cancel(subscription.id, {"invoice_now": True})
    final = stripe.v1.invoices.list({"subscription": subscription.id}).data[0]
    assert (final.status, final.total) == ("paid", 20)


def test_features_follow_subscriptions(stripe: StripeClient) -> None:
    price = a_price(stripe)
    key = f"sso-{uuid4()}"
    feature = stripe.v1.entitlements.features.create({"name": "Single sign-on", "lookup_key": key})
    stripe.v1.products.features.create(price.product, {"entitlement_feature": feature.id})
    subscription = a_subscription(stripe, price)
    active = stripe.v1.entitlements.active_entitlements.list({"customer": subscription.customer})
    assert [each.lookup_key for each in active.data] == [key]
    summary = stripe.v1.events.list({"type": "entitlements.active_entitlement_summary.updated"}).data[0]
    assert summary.data.object.customer == subscription.customer
    assert summary.data.object.entitlements.data[0].lookup_key == key
    stripe.v1.subscriptions.cancel(subscription.id)
    assert stripe.v1.entitlements.active_entitlements.list({"customer": subscription.customer}).data == []
    assert event_types(stripe, subscription.id)[-1] == "customer.subscription.deleted"
    with pytest.raises(InvalidRequestError):
        stripe.v1.entitlements.features.create({"name": "x", "lookup_key": key})
