"""State outlives the process where a folder is given."""

from pathlib import Path
from uuid import uuid4

from sandbox.main import create_sandbox
from sandbox.stripe.app import create_stripe
from testkit.live_server import serving

from .conftest import client
from .factories import a_price, a_subscription


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    key = {"idempotency_key": str(uuid4())}
    with serving(create_stripe(tmp_path)) as url:
        stripe = client(url)
        subscription = a_subscription(stripe, a_price(stripe, 700, lookup_key="kept"))
        customer = stripe.v1.customers.create({"name": "Ada"}, key)
        events = len(stripe.v1.events.list({"limit": 100}).data)
    with serving(create_stripe(tmp_path)) as url:
        stripe = client(url)
        restored = stripe.v1.subscriptions.retrieve(subscription.id, {"expand": ["latest_invoice"]})
        assert (restored.status, restored.latest_invoice.total) == ("active", 700)
        assert len(stripe.v1.events.list({"limit": 100}).data) == events
        assert stripe.v1.customers.create({"name": "Ada"}, key).id == customer.id
        price = stripe.v1.prices.list({"lookup_keys": ["kept"]}).data[0]
        stripe.v1.prices.update(price.id, {"nickname": "renamed"})
        assert stripe.v1.subscriptions.retrieve(subscription.id)["items"].data[0].price.nickname == "renamed"


def test_the_whole_sandbox_serves_it_below_a_path() -> None:
    with serving(create_sandbox()) as url:
        stripe = client(f"{url}/stripe")
        invoice = a_subscription(stripe).latest_invoice
        assert invoice.hosted_invoice_url == f"{url}/stripe/pages/invoices/{invoice.id}"
