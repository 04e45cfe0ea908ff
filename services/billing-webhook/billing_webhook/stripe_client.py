"""The client of Stripe: the official SDK over the process's connections.

Timeouts are those of the pool (2 seconds to connect, 10 in all). The SDK makes up to two more attempts after
a broken connection, a conflict or a failure of Stripe, with the same idempotency key; other errors it raises.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import stripe
from servicekit.http.client import HttpPool, NoResponse
from stripe import StripeClient

from billing_webhook.errors import StripeNotConfigured

MAX_NETWORK_RETRIES = 2
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class PooledHttpClient(stripe.HTTPClient):
    """Sends the SDK's requests over a pool of ours, with a proxy if the environment names one."""

    name = "acme"

    def __init__(self, pool: HttpPool) -> None:
        super().__init__()
        self._pool = pool

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Send a request once; raises APIConnectionError, after which the SDK may try again."""
        body = post_data.encode() if isinstance(post_data, str) else post_data
        try:
            response = await self._pool.exchange(
                method.upper(), url, headers, body or None, proxy=proxy_for(url)
            )
        except NoResponse as error:
            raise unreachable(str(error)) from error
        return response.body, response.status, response.headers

    def sleep_async(self, secs: float) -> Awaitable[None]:
        """Wait between two attempts."""
        return asyncio.sleep(secs)

    async def close_async(self) -> None:
        """Leave the pool open, which is the process's."""


def unreachable(reason: str) -> stripe.APIConnectionError:
    """Return the error after which the SDK tries again."""
    # The SDK's errors have no types.
    error: stripe.APIConnectionError = stripe.APIConnectionError(  # type: ignore[no-untyped-call]
        f"Stripe does not answer: {reason}", should_retry=True
    )
    return error


def proxy_for(url: str) -> str | None:
    """Return the proxy that HTTPS_PROXY, HTTP_PROXY and NO_PROXY name for an address of another machine."""
    parts = urlsplit(url)
    if not parts.hostname or parts.hostname in LOOPBACK or proxy_bypass(parts.hostname):
        return None
    return getproxies().get(parts.scheme)


def connect(pool: HttpPool, api_key: str, api_base: str = "") -> StripeClient:
    """Return a client; `api_base` replaces all of Stripe's addresses."""
    base = api_base.rstrip("/")
    addresses: Any = dict.fromkeys(("api", "files", "connect", "meter_events"), base) if base else None
    return StripeClient(
        api_key,
        base_addresses=addresses,
        max_network_retries=MAX_NETWORK_RETRIES,
        http_client=PooledHttpClient(pool),
    )


def require_client(client: StripeClient | None) -> StripeClient:
    """Return the client; raises StripeNotConfigured where no key is set."""
    if client is None:
        raise StripeNotConfigured
    return client
