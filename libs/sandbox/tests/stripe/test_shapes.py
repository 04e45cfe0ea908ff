"""Objects have the members that the SDK's classes say they always have, at every depth."""

from collections.abc import Iterator
from types import NoneType
from typing import Any, get_args

import httpx
import pytest
from stripe import StripeClient, StripeObject

from .conftest import Clock
from .factories import a_price, a_subscription


def missing(obj: StripeObject, path: str = "") -> Iterator[str]:
    """The members that an object lacks, with those of the objects in it."""
    members = vars(type(obj)).get("__annotations__", {})
    present = obj.to_dict(recursive=False)
    for name, annotation in members.items():
        is_optional = NoneType in get_args(annotation) or "ClassVar" in str(annotation)
        if not (is_optional or name.startswith("_") or name in present):
            yield f"{path}{type(obj).__name__}.{name}"
    for name, value in present.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, StripeObject):
                yield from missing(item, f"{path}{name}/")


@pytest.fixture(scope="module")
def world(stripe: StripeClient, http: httpx.Client, clock: Clock) -> dict[str, Any]:
    """One object of each kind."""
    customer_price = a_price(stripe)
    meter = stripe.v1.billing.meters.create(
        {"display_name": "x", "event_name": "x", "default_aggregation": {"formula": "sum"}}
    )
    subscription = a_subscription(stripe, customer_price, trial_period_days=1)
    paid = a_subscription(stripe, expand=["latest_invoice.payments.data.payment.payment_intent"])
    customer = str(paid.customer)
    event = stripe.v1.billing.meter_events.create(
        {"event_name": "x", "payload": {"stripe_customer_id": customer, "value": "1"}}
    )
    clock.advance(hours=2)
    feature = stripe.v1.entitlements.features.create({"name": "x", "lookup_key": "x"})
    carried = stripe.v1.products.features.create(
        str(customer_price.product), {"entitlement_feature": feature.id}
    )
    invoice = paid.latest_invoice
    intent = invoice.payments.data[0].payment.payment_intent
    setup = {"mode": "setup", "currency": "eur", "success_url": "https://app.example.com"}
    now = clock.now() // 3600 * 3600
    window = {"customer": customer, "start_time": now - 7200, "end_time": now + 3600}
    destination = {
        "name": "x",
        "type": "webhook_endpoint",
        "event_payload": "thin",
        "enabled_events": ["v1.customer.created"],
        "webhook_endpoint": {"url": "http://127.0.0.1:9/hook"},
    }
    refund = stripe.v1.refunds.create({"payment_intent": intent.id, "amount": 1})
    dispute = http.post(f"/_ctl/charges/{intent.latest_charge}/dispute").json()
    features = {"invoice_history": {"enabled": True}}
    objects: dict[str, Any] = {
        "product": stripe.v1.products.retrieve(str(customer_price.product)),
        "price": customer_price,
        "customer": stripe.v1.customers.retrieve(customer),
        "payment method": stripe.v1.customers.payment_methods.list(customer).data[0],
        "setup intent": stripe.v1.setup_intents.create({"customer": customer}),
        "payment intent": intent,
        "charge": stripe.v1.charges.retrieve(intent.latest_charge),
        "refund": refund,
        "dispute": stripe.v1.disputes.retrieve(dispute["id"]),
        "subscription": paid,
        "trial": subscription,
        "paused": stripe.v1.subscriptions.pause(subscription.id),
        "invoice": invoice,
        "preview": stripe.v1.invoices.create_preview({"subscription": paid.id}),
        "invoice item": stripe.v1.invoice_items.create(
            {"customer": customer, "amount": 1, "currency": "eur"}
        ),
        "checkout session": stripe.v1.checkout.sessions.create(setup),  # type: ignore[arg-type]
        "portal configuration": stripe.v1.billing_portal.configurations.create({"features": features}),  # type: ignore[typeddict-item]
        "portal session": stripe.v1.billing_portal.sessions.create({"customer": customer}),
        "meter": meter,
        "meter event": event,
        "meter summary": stripe.v1.billing.meters.event_summaries.list(meter.id, window).data[0],  # type: ignore[arg-type]
        "adjustment": stripe.v1.billing.meter_event_adjustments.create(
            {"event_name": "x", "type": "cancel", "cancel": {"identifier": event.identifier}}
        ),
        "v2 meter event": stripe.v2.billing.meter_events.create(
            {"event_name": "x", "payload": {"stripe_customer_id": customer, "value": "1"}}
        ),
        "feature": feature,
        "product's feature": carried,
        "entitlements": stripe.v1.entitlements.active_entitlements.list({"customer": customer}),
        "event": stripe.v1.events.list().data[0],
        "webhook endpoint": stripe.v1.webhook_endpoints.create(
            {"url": "http://127.0.0.1:9/hook", "enabled_events": ["charge.expired"]}
        ),
        "destination": stripe.v2.core.event_destinations.create(destination),  # type: ignore[arg-type]
    }
    return objects


def test_no_member_is_missing(world: dict[str, Any]) -> None:
    assert [f"{kind}: {member}" for kind, obj in world.items() for member in missing(obj)] == []
