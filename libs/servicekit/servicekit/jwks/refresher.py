"""The last key set of a source: refreshed in time, one fetch at a time, and kept while the source fails.

Ages are measured by the monotonic clock, so that a jump of the wall clock changes nothing.
"""

import asyncio
import logging
import math
import random
from asyncio import AbstractEventLoop, Task
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from prometheus_client import Counter, Gauge, Histogram

from servicekit.auth.tokens import VerificationKey
from servicekit.backoff import Backoff, Clock
from servicekit.jwks.fetch import FetchLimits, KeySet, KeySetError, fetch

logger = logging.getLogger(__name__)

Keys = Mapping[str, VerificationKey]

MAX_STALE_SECONDS = 86400

REFRESHED = Counter("jwks_refresh_total", "Fetches of a key set.", ["issuer", "reason", "result"])
REFRESH_SECONDS = Histogram("jwks_refresh_seconds", "Time to fetch a key set.", ["issuer"])
AGE = Gauge("jwks_age_seconds", "Time since the source last confirmed the key set.", ["issuer"])
KEYS = Gauge("jwks_keys", "Usable keys.", ["issuer"])
BACKOFF = Gauge("jwks_backoff_seconds", "Time until a failing source is asked again.", ["issuer"])


@dataclass(frozen=True)
class JwksPolicy:
    """How often keys are refreshed, how long stale ones are used, and how often to fetch; in seconds."""

    fresh_ttl: float = 300
    min_ttl: float = 30
    max_ttl: float = 3600
    refresh_ahead: float = 0.8
    jitter: float = 0.1
    max_stale: float = 3600
    miss_burst: int = 2
    miss_refill: float = 30
    absent_ttl: float = 60
    max_absent: int = 1024
    min_backoff: float = 1
    max_backoff: float = 60
    wait_timeout: float = 3
    limits: FetchLimits = field(default_factory=FetchLimits)

    def __post_init__(self) -> None:
        if not self.max_ttl <= self.max_stale <= MAX_STALE_SECONDS:
            raise ValueError(f"max_stale must be max_ttl to {MAX_STALE_SECONDS} seconds")

    def ttl(self, max_age: float | None) -> float:
        """Return how long an answer counts as fresh, within our bounds whatever the source says."""
        return self.fresh_ttl if max_age is None else min(max(max_age, self.min_ttl), self.max_ttl)

    def refresh_after(self, ttl: float) -> float:
        """Return the age at which to refresh; random, so that replicas do not fetch at the same time."""
        spread = random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311  # spreads load, no secret
        return ttl * self.refresh_ahead * spread


@dataclass(frozen=True)
class Snapshot:
    """A key set, when its source last confirmed it, and for how long that holds."""

    key_set: KeySet = field(default_factory=lambda: KeySet({}))
    confirmed_at: float = -math.inf
    ttl: float = 0


class JwksRefresher:
    """Fetches the key set of one URL, one fetch at a time."""

    def __init__(self, url: str, policy: JwksPolicy, clock: Clock, changed: Callable[[], None]) -> None:
        """Begin without keys; `changed` is called whenever they are not the same as before."""
        self._url = url
        self._policy = policy
        self._clock = clock
        self._changed = changed
        # Replaced as a whole, so that reading it takes no lock.
        self._snapshot = Snapshot()
        self._due_at = clock()
        self._timer: Task[None] | None = None
        # A task belongs to a loop, so each loop has its own one fetch under way.
        self._flights: dict[AbstractEventLoop, Task[bool]] = {}
        self.backoff = Backoff(policy.min_backoff, policy.max_backoff, clock)
        AGE.labels(url).set_function(self.age)
        BACKOFF.labels(url).set_function(self.backoff.remaining)

    @property
    def keys(self) -> Keys:
        """The keys of the last good answer."""
        return self._snapshot.key_set.keys

    def age(self) -> float:
        """Return the seconds since the source last confirmed the keys; endless before it ever did."""
        return self._clock() - self._snapshot.confirmed_at

    def is_stale(self) -> bool:
        """Return whether the keys should be asked for again."""
        return self.age() >= self._snapshot.ttl

    def is_lost(self) -> bool:
        """Return whether the keys are too old to be trusted, or there are none."""
        return self.age() > self._policy.max_stale

    def flight(self) -> Task[bool] | None:
        """Return the running fetch, if there is one."""
        task = self._flights.get(asyncio.get_running_loop())
        return task if task and not task.done() else None

    def may_fetch(self) -> bool:
        """Return whether a fetch is running or may start."""
        return self.flight() is not None or not self.backoff.remaining()

    def launch(self, reason: str) -> Task[bool]:
        """Return the running fetch, or start one; its result is whether it brought keys."""
        if under_way := self.flight():
            return under_way
        loop = asyncio.get_running_loop()
        self._flights[loop] = loop.create_task(self._refresh(reason), name=f"jwks refresh {self._url}")
        return self._flights[loop]

    async def refreshed(self, reason: str) -> bool:
        """Wait for the one fetch; it goes on for the others when this waiter goes away."""
        try:
            async with asyncio.timeout(self._policy.wait_timeout):
                return await asyncio.shield(self.launch(reason))
        except TimeoutError:
            return False

    def start_timer(self) -> None:
        """Refresh in time from now on, whether or not anybody asks for keys."""
        if self._timer is None or self._timer.done():
            self._timer = asyncio.create_task(self._keep_fresh(), name=f"jwks timer {self._url}")

    async def aclose(self) -> None:
        """End what runs in the background of this loop."""
        tasks = [task for task in (self._timer, self.flight()) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(max(0.0, self._due_at - self._clock()))
            if self._clock() >= self._due_at:
                await asyncio.shield(self.launch("timer"))

    async def _refresh(self, reason: str) -> bool:
        cached = self._snapshot.key_set
        try:
            with REFRESH_SECONDS.labels(self._url).time():
                key_set = await fetch(self._url, cached, self._policy.limits)
        except KeySetError as error:
            REFRESHED.labels(self._url, reason, error.kind).inc()
            self._fail(error)
            return False
        REFRESHED.labels(self._url, reason, "304" if key_set.keys is cached.keys else "200").inc()
        self._keep(key_set)
        return True

    def _fail(self, error: KeySetError) -> None:
        if not self.backoff.failures:
            logger.warning("key set source fails", extra={"url": self._url, "reason": error.kind})
        self.backoff.fail(error.retry_after)
        self._due_at = self._clock() + self.backoff.remaining()

    def _keep(self, key_set: KeySet) -> None:
        before, now, ttl = self.keys, self._clock(), self._policy.ttl(key_set.max_age)
        self._snapshot = Snapshot(key_set, now, ttl)
        self._due_at = now + self._policy.refresh_after(ttl)
        KEYS.labels(self._url).set(len(key_set.keys))
        if self.backoff.failures:
            logger.info("key set source is back", extra={"url": self._url, "failures": self.backoff.failures})
        self.backoff.reset()
        if before != key_set.keys:
            self._notify_change(before, key_set.keys)

    def _notify_change(self, before: Keys, after: Keys) -> None:
        self._changed()
        added = sorted(kid for kid, key in after.items() if before.get(kid) != key)
        removed = sorted(before.keys() - after.keys())
        logger.info("key set changed", extra={"url": self._url, "added": added, "removed": removed})
