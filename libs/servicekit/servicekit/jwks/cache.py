"""A cache of a token issuer's keys, which serves them during outages of the issuer.

A known key is served without waiting for as long as `max_stale` allows; the network is asked behind its back.
"""

import asyncio
import ipaddress
import time
from collections.abc import Iterable
from typing import NoReturn

import httpx
from prometheus_client import Counter

from servicekit.auth.tokens import InvalidToken, KeySourceUnavailable, VerificationKey
from servicekit.backoff import Clock, NegativeCache, TokenBucket
from servicekit.jwks.refresher import JwksPolicy, JwksRefresher

DEFAULT_POLICY = JwksPolicy()
INSIDE_SUFFIXES = (".svc", ".svc.cluster.local", ".internal", ".localhost")

SERVED = Counter("jwks_serve_total", "Keys served from the cache.", ["issuer", "state"])
MISSED = Counter("jwks_kid_miss_total", "Key ids that were not in the cache.", ["issuer", "outcome"])


class JwksCache:
    """A KeySource over HTTP, to be shared by all that verify; close it on the loop it was warmed up on."""

    def __init__(self, url: str, policy: JwksPolicy | None = None, *, clock: Clock = time.monotonic) -> None:
        """Trust the key set at one URL: https, or http where traffic stays inside; ValueError otherwise."""
        if not _is_safe(httpx.URL(url)):
            raise ValueError("a key set is fetched over https; http is only for addresses inside")
        policy = policy or DEFAULT_POLICY
        self._url = url
        self._revoked: set[str] = set()
        self._bucket = TokenBucket(policy.miss_burst, policy.miss_refill, clock)
        self._absent = NegativeCache(policy.absent_ttl, policy.max_absent, clock)
        self._feed = JwksRefresher(url, policy, clock, changed=self._absent.clear)

    async def get(self, kid: str) -> VerificationKey:
        """Return a key, at once if it is known.

        Raises InvalidToken when the source does not have it, KeySourceUnavailable when nobody can tell.
        """
        if self._feed.is_lost():
            await self._regain()
            return self._known(kid) or self._refuse(kid)
        return self._known(kid) or await self._seek(kid)

    def all_keys(self) -> list[VerificationKey]:
        """Return all keys that would be served now; raises KeySourceUnavailable when they are too old."""
        if self._feed.is_lost():
            raise self._unavailable()
        return [key for kid, key in self._feed.keys.items() if kid not in self._revoked]

    async def warmup(self, within: float = 5) -> None:
        """Fetch keys, and keep them fresh from now on; raises KeySourceUnavailable after `within` seconds."""
        self._feed.start_timer()
        try:
            async with asyncio.timeout(within):
                while self._feed.is_lost():
                    await asyncio.sleep(self._feed.backoff.remaining())
                    await self._feed.refreshed("stale")
        except TimeoutError:
            raise KeySourceUnavailable from None

    async def refresh_now(self, *, drop: Iterable[str] = ()) -> bool:
        """Fetch the keys at once, ignoring the back-off, and reject the keys named in `drop` for good.

        For emergencies. What is under way may have begun before the change: another fetch follows it.
        """
        self._revoked.update(drop)
        if under_way := self._feed.flight():
            await asyncio.wait([under_way])
        return await self._feed.refreshed("push")

    async def aclose(self) -> None:
        """End what runs in the background."""
        await self._feed.aclose()

    def _known(self, kid: str) -> VerificationKey | None:
        """Return the cached key, and refresh stale ones in the background."""
        key = self._feed.keys.get(kid)
        if key is None or kid in self._revoked:
            return None
        if not self._feed.is_stale():
            SERVED.labels(self._url, "fresh").inc()
            return key
        SERVED.labels(self._url, "stale_error" if self._feed.backoff.failures else "stale").inc()
        if self._feed.may_fetch():
            self._feed.launch("stale")
        return key

    async def _regain(self) -> None:
        """Fetch keys when there are none, and wait for them."""
        if not self._feed.may_fetch() or not await self._feed.refreshed("stale"):
            raise self._unavailable()

    async def _seek(self, kid: str) -> VerificationKey:
        """Fetch the keys again for an unknown key id, at a limited rate."""
        if kid in self._revoked or kid in self._absent:
            MISSED.labels(self._url, "negative").inc()
            raise InvalidToken("unknown_key")
        if not self._feed.flight() and (self._feed.backoff.remaining() or not self._bucket.take()):
            MISSED.labels(self._url, "cooldown").inc()
            raise self._unsure(failing=self._feed.backoff.failures > 0)
        if not await self._feed.refreshed("miss"):
            raise self._unsure(failing=True)
        if not (key := self._known(kid)):
            self._refuse(kid)
        MISSED.labels(self._url, "refreshed_found").inc()
        return key

    def _refuse(self, kid: str) -> NoReturn:
        MISSED.labels(self._url, "refreshed_absent").inc()
        self._absent.add(kid)
        raise InvalidToken("unknown_key")

    def _unsure(self, *, failing: bool) -> InvalidToken | KeySourceUnavailable:
        # The source fails and the set is stale: it may be an honest new key, which logs nobody out.
        lost = failing and self._feed.is_stale()
        return self._unavailable() if lost else InvalidToken("unknown_key")

    def _unavailable(self) -> KeySourceUnavailable:
        return KeySourceUnavailable(retry_after=max(1, self._feed.backoff.remaining()))


def _is_safe(url: httpx.URL) -> bool:
    return url.scheme == "https" or (url.scheme == "http" and _is_inside(url.host))


def _is_inside(host: str) -> bool:
    """Return whether a host is on this machine or its private network."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return bool(host) and ("." not in host or host.endswith(INSIDE_SUFFIXES))
