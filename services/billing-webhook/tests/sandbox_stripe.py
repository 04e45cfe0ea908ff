"""The sandbox's Stripe behind a real socket, set up as an operator would, and what tests do to it."""

import contextlib
from collections.abc import Iterator
from typing import Any

import httpx
from sandbox.stripe.app import create_stripe
from stripe import RequestsClient, StripeClient
from testkit.live_server import NO_AUTHORITIES, serving

KEY = "sk_test_sandbox"


class Sandbox:
    """The sandbox's Stripe; `client` is the official one, synchronous."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.transport = RequestsClient()
        addresses: Any = dict.fromkeys(("api", "files", "connect", "meter_events"), url)
        self.client = StripeClient(KEY, base_addresses=addresses, http_client=self.transport)
        headers = {"Authorization": f"Bearer {KEY}"}
        self.http = httpx.Client(base_url=url, headers=headers, verify=NO_AUTHORITIES, timeout=60)

    def close(self) -> None:
        self.transport.close()
        self.http.close()

    def fail(self, **fault: Any) -> None:
        """Have the next requests fail."""
        self.http.post("/_ctl/faults", json={"api": [fault]}).raise_for_status()

    def clear(self) -> None:
        self.http.delete("/_ctl/faults").raise_for_status()

    def advance(self, days: float = 0, hours: float = 0) -> None:
        """Advance the time."""
        seconds = round((days * 24 + hours) * 3600)
        self.http.post("/_ctl/clock", json={"advance": seconds}).raise_for_status()

    def now(self) -> int:
        return int(self.http.get("/_ctl/clock").json()["now"])

    def add_card(self, customer: str, card: str = "pm_card_visa") -> None:
        """Attach a card to a customer, as its default."""
        method = self.client.v1.payment_methods.attach(card, {"customer": customer})
        default = {"default_payment_method": method.id}
        self.client.v1.customers.update(customer, {"invoice_settings": default})
        for subscription in self.client.v1.subscriptions.list({"customer": customer}).data:
            self.client.v1.subscriptions.update(subscription.id, default)

    def complete_checkouts(self, customers: list[Any]) -> None:
        """Pay on every page that is open."""
        for customer in customers:
            sessions = self.client.v1.checkout.sessions.list({"customer": customer.id, "status": "open"})
            for session in sessions.data:
                self.http.post(f"/_ctl/checkout/{session.id}/complete").raise_for_status()

    def subscriptions(self, customer: str) -> list[Any]:
        """List all subscriptions that a customer has or had."""
        return self.client.v1.subscriptions.list({"customer": customer, "status": "all"}).data

    def customers_of(self, tenant: object) -> list[Any]:
        """List the customers of a tenant."""
        every = self.client.v1.customers.list({"limit": 100}).auto_paging_iter()
        return [
            one for one in every if one.metadata and one.metadata.to_dict().get("tenant_id") == str(tenant)
        ]


@contextlib.contextmanager
def stripe_sandbox() -> Iterator[Sandbox]:
    """Run a Stripe with the prices of the plans."""
    with serving(create_stripe()) as url:
        sandbox = Sandbox(url)
        product = sandbox.client.v1.products.create({"name": "Plans"})
        for key, amount in (("acme_starter_month_eur_1900", 1900), ("acme_pro_month_eur_4900", 4900)):
            sandbox.client.v1.prices.create(
                {
                    "product": product.id,
                    "currency": "eur",
                    "unit_amount": amount,
                    "recurring": {"interval": "month"},
                    "lookup_key": key,
                }
            )
        yield sandbox
        sandbox.close()
