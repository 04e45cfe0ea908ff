from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from sandbox.stripe.app import create_stripe
from stripe import HTTPXClient, StripeClient
from testkit.live_server import serving


@pytest.fixture(scope="module")
def stripe_url() -> Iterator[str]:
    with serving(create_stripe()) as url:
        yield url


@pytest.fixture(scope="module")
def stripe(stripe_url: str) -> StripeClient:
    """The official client, as it is."""
    return client(stripe_url)


@pytest.fixture
async def async_stripe(stripe_url: str) -> AsyncIterator[StripeClient]:
    http = HTTPXClient()
    yield StripeClient("sk_test_sandbox", base_addresses={"api": stripe_url}, http_client=http)
    await http.close_async()


class Clock:
    """Time at the sandbox, which only goes forward."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def now(self) -> int:
        return int(self._http.get("/_ctl/clock").json()["now"])

    def advance(self, *, days: float = 0, hours: float = 0) -> None:
        seconds = round((days * 24 + hours) * 3600)
        self._http.post("/_ctl/clock", json={"advance": seconds}).raise_for_status()


@pytest.fixture(scope="module")
def clock(http: httpx.Client) -> Clock:
    return Clock(http)


def client(url: str, key: str = "sk_test_sandbox", retries: int = 0) -> StripeClient:
    addresses = {"api": url, "files": url, "connect": url, "meter_events": url}
    return StripeClient(key, base_addresses=addresses, max_network_retries=retries)


@pytest.fixture(scope="module")
def http(stripe_url: str) -> Iterator[httpx.Client]:
    """A client without any help, and without retries."""
    headers = {"Authorization": "Bearer sk_test_sandbox"}
    with httpx.Client(base_url=stripe_url, headers=headers, timeout=60) as plain:
        yield plain
