"""Events on their way to webhook endpoints, over real sockets."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from stripe import SignatureVerificationError, StripeClient
from testkit.eventually import until
from testkit.live_server import serving


@dataclass
class Receiver:
    """Records what it gets, and answers what it is told to."""

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    signatures: list[str] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        return [json.loads(body)["id"] for body in self.bodies]

    @property
    def types(self) -> list[str]:
        return [json.loads(body)["type"] for body in self.bodies]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    app, received = FastAPI(), Receiver()

    @app.post("/hook")
    async def take(request: Request) -> Response:
        received.bodies.append(await request.body())
        received.signatures.append(request.headers["Stripe-Signature"])
        return Response(status_code=received.answers.pop(0) if received.answers else 200)

    with serving(app) as url:
        received.url = f"{url}/hook"
        yield received


@pytest.fixture
def endpoint(stripe: StripeClient, receiver: Receiver) -> Iterator[str]:
    """The secret of an endpoint for customers and products."""
    events = ["customer.created", "customer.updated", "product.created"]
    created = stripe.v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": events})  # type: ignore[typeddict-item]
    yield created.secret or ""
    stripe.v1.webhook_endpoints.delete(created.id)


def test_events_arrive_signed_and_complete(stripe: StripeClient, receiver: Receiver, endpoint: str) -> None:
    customer = stripe.v1.customers.create({"name": "Ada"})
    stripe.v1.prices.create({"currency": "eur", "unit_amount": 1, "product_data": {"name": "x"}})
    until(lambda: len(receiver.bodies) == 2)
    event = stripe.construct_event(receiver.bodies[0], receiver.signatures[0], endpoint)
    assert (event.type, event.api_version, event.livemode) == ("customer.created", "2026-10-28.endive", False)
    assert event.data.object.id == customer.id
    assert event.request.idempotency_key
    assert event.pending_webhooks == 1
    assert receiver.types == ["customer.created", "product.created"]
    until(lambda: stripe.v1.events.retrieve(event.id).pending_webhooks == 0)
    with pytest.raises(SignatureVerificationError):
        stripe.construct_event(receiver.bodies[0] + b" ", receiver.signatures[0], endpoint)


def test_a_secret_is_returned_once_and_disabled_endpoints_get_nothing(
    stripe: StripeClient, receiver: Receiver
) -> None:
    created = stripe.v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["*"]})
    assert created.secret.startswith("whsec_")
    assert "secret" not in stripe.v1.webhook_endpoints.retrieve(created.id)
    assert "secret" not in stripe.v1.webhook_endpoints.list().data[0]
    stripe.v1.webhook_endpoints.update(created.id, {"disabled": True})
    event_of = stripe.v1.customers.create({}).id
    stripe.v1.webhook_endpoints.update(created.id, {"disabled": False})
    customer = stripe.v1.customers.create({})
    until(lambda: len(receiver.bodies) == 1)
    assert customer.id in receiver.bodies[0].decode()
    assert event_of not in receiver.bodies[0].decode()
    stripe.v1.webhook_endpoints.delete(created.id)


def test_a_refused_delivery_is_tried_again(
    stripe: StripeClient, http: httpx.Client, receiver: Receiver, endpoint: str
) -> None:
    receiver.answers = [500, 503]
    stripe.v1.customers.create({})
    until(lambda: len(receiver.bodies) == 3)
    assert len(set(receiver.ids)) == 1
    until(lambda: len(http.get("/_ctl/deliveries", params={"event": receiver.ids[0]}).json()) == 3)
    attempts = http.get("/_ctl/deliveries", params={"event": receiver.ids[0]}).json()
    assert [(each["attempt"], each["status"]) for each in attempts] == [(1, 500), (2, 503), (3, 200)]


def test_undelivered_events_can_be_listed(
    stripe: StripeClient, http: httpx.Client, receiver: Receiver, endpoint: str
) -> None:
    before = stripe.v1.customers.create({})
    until(lambda: len(receiver.bodies) == 1)
    fault = {"kind": "drop", "count": 2}
    http.post("/_ctl/faults", json={"deliveries": [fault]}).raise_for_status()
    lost = [stripe.v1.customers.create({}).id for _ in range(2)]
    stripe.v1.customers.create({})
    until(lambda: len(receiver.bodies) == 2)
    until(lambda: len(stripe.v1.events.list({"delivery_success": False}).data) == 2)
    missed = stripe.v1.events.list(
        {"delivery_success": False, "ending_before": receiver.ids[0], "types": ["customer.created"]}
    )
    assert [event.data.object.id for event in missed.auto_paging_iter()] == lost
    assert before.id not in lost


def test_deliveries_may_be_doubled_late_and_out_of_order(
    stripe: StripeClient, http: httpx.Client, receiver: Receiver, endpoint: str
) -> None:
    faults = [
        {"kind": "duplicate", "copies": 3},
        {"kind": "late", "seconds": 0.3},
        {"kind": "reorder", "count": 3, "seconds": 30},
    ]
    http.post("/_ctl/faults", json={"deliveries": faults}).raise_for_status()
    names = ["doubled", "late", "a", "b", "c", "undisturbed"]
    for name in names:
        stripe.v1.customers.create({"name": name})
    until(lambda: len(receiver.bodies) == 8)
    order = [json.loads(body)["data"]["object"]["name"] for body in receiver.bodies]
    assert order[:3] == ["doubled"] * 3
    assert [name for name in order if name in {"a", "b", "c"}] == ["c", "b", "a"]
    assert sorted(order[3:]) == sorted(names[1:])


def test_thin_destinations_get_twins(stripe: StripeClient, receiver: Receiver) -> None:
    destination = stripe.v2.core.event_destinations.create(
        {
            "name": "thin",
            "type": "webhook_endpoint",
            "event_payload": "thin",
            "enabled_events": ["v1.customer.created", "v1.billing.meter.no_meter_found"],
            "webhook_endpoint": {"url": receiver.url},
            "include": ["webhook_endpoint.signing_secret"],
        }
    )
    customer = stripe.v1.customers.create({"name": "Ada"})
    until(lambda: len(receiver.bodies) == 1)
    secret = destination.webhook_endpoint.signing_secret
    notification = stripe.parse_event_notification(receiver.bodies[0], receiver.signatures[0], secret)
    assert notification.type == "v1.customer.created"
    assert notification.fetch_related_object().id == customer.id  # type: ignore[union-attr]
    assert notification.fetch_event().id == notification.id
    snapshot = json.loads(receiver.bodies[0])["snapshot_event"]
    assert stripe.v1.events.retrieve(snapshot).data.object.id == customer.id
    assert stripe.v2.core.events.list({"limit": 1}).data[0].id == notification.id
    stripe.v2.core.event_destinations.delete(destination.id)


def test_tests_can_publish_what_nothing_here_causes(
    stripe: StripeClient, http: httpx.Client, receiver: Receiver
) -> None:
    created = stripe.v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["charge.refunded"]})
    charge = {"id": "ch_1", "object": "charge", "amount_refunded": 5}
    event = http.post("/_ctl/events", json={"type": "charge.refunded", "object": charge}).json()
    until(lambda: receiver.ids == [event["id"]])
    stripe.v1.webhook_endpoints.delete(created.id)
