"""Rate and concurrency limits in Redis, exact across replicas.

Several are asked for in one call, and are granted all or none. Keys of one call share a hash tag, and so live
in one slot of a cluster: `tenant_key(tenant_id, "runs", subject)` gives keys of one tenant theirs.

When Redis does not answer, nobody is let in (LimitsUnavailable, 503): a limit that opens when it fails calls
for somebody to make it fail, and these limits guard what costs money.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID, uuid4

import anyio
from redis.asyncio import Redis
from redis.exceptions import RedisError

from servicekit.errors import TooManyRequests, Unavailable
from servicekit.workers.base import check_cancelled

logger = logging.getLogger(__name__)

MICRO = 1_000_000
# How long Redis may take.
TIMEOUT_SECONDS = 1.0
# A slot is usually given back long before its lease would lapse.
MAX_RETRY_AFTER = 5.0

# KEYS: of the rates, then of the slots. ARGV: lease id, number of rates, then limit and period of each rate,
# then limit and ttl of each slot; times in µs. Gives {0, then remaining and time to full of each rate}, or
# {which one refuses, time to wait}. Rates are GCRA: a key holds the time at which its bucket is full again.
ADMIT = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local rates = tonumber(ARGV[2])
local answer, full, expiry = {0}, {}, {}

local function wanted(i)
    return tonumber(ARGV[1 + 2 * i]), tonumber(ARGV[2 + 2 * i])
end

for i = 1, rates do
    local limit, period = wanted(i)
    local interval = math.max(1, math.floor(period / limit))
    full[i] = math.max(tonumber(redis.call('GET', KEYS[i]) or now), now) + interval
    local early = full[i] - now - period
    if early > 0 then return {i, early} end
    table.insert(answer, math.floor(-early / interval))
    table.insert(answer, full[i] - now)
end

for i = rates + 1, #KEYS do
    local limit, ttl = wanted(i)
    redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now)
    if redis.call('ZCARD', KEYS[i]) >= limit then
        return {i, redis.call('ZRANGE', KEYS[i], 0, 0, 'WITHSCORES')[2] - now}
    end
    expiry[i] = now + ttl
end

for i = 1, rates do
    redis.call('SET', KEYS[i], full[i], 'PX', math.ceil((full[i] - now) / 1000))
end
for i = rates + 1, #KEYS do
    redis.call('ZADD', KEYS[i], expiry[i], ARGV[1])
    local last = redis.call('ZRANGE', KEYS[i], -1, -1, 'WITHSCORES')[2]
    redis.call('PEXPIREAT', KEYS[i], math.ceil(last / 1000))
end
return answer
"""

# KEYS: of the slots. ARGV: lease id, then the ttl (µs) of each. Gives 1, or 0 when one of them has lapsed.
RENEW = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
for i = 1, #KEYS do
    local expiry = redis.call('ZSCORE', KEYS[i], ARGV[1])
    if not expiry or tonumber(expiry) <= now then return 0 end
end
for i = 1, #KEYS do
    redis.call('ZADD', KEYS[i], now + ARGV[1 + i], ARGV[1])
    local last = redis.call('ZRANGE', KEYS[i], -1, -1, 'WITHSCORES')[2]
    redis.call('PEXPIREAT', KEYS[i], math.ceil(last / 1000))
end
return 1
"""


@dataclass(frozen=True)
class Rate:
    """At most `limit` in `per` seconds: as many at once when unused, then evenly spread."""

    key: str
    limit: int
    per: float = 60.0

    def __post_init__(self) -> None:
        if self.limit < 1 or self.per <= 0:
            raise ValueError("a rate needs a limit of at least 1, and a period")


@dataclass(frozen=True)
class Concurrency:
    """At most `limit` at the same time; each lapses `ttl` seconds after it was last renewed."""

    key: str
    limit: int
    ttl: float = 60.0

    def __post_init__(self) -> None:
        if self.limit < 1 or self.ttl <= 0:
            raise ValueError("slots need a limit of at least 1, and a time to live")


@dataclass(frozen=True)
class Quota:
    """What is left of a limit; `reset_after` and `per` in seconds, `per` is None where it is not a rate."""

    limit: int
    remaining: int
    reset_after: float
    per: float | None = None

    def headers(self) -> dict[str, str]:
        """Return the headers that tell the caller (draft-ietf-httpapi-ratelimit-headers)."""
        name = '"concurrency"' if self.per is None else '"default"'
        shape = "" if self.per is None else f";w={math.ceil(self.per)}"
        return {
            "RateLimit": f"{name};r={self.remaining};t={math.ceil(self.reset_after)}",
            "RateLimit-Policy": f"{name};q={self.limit}{shape}",
        }


class LimitReached(TooManyRequests):
    """A limit is reached; the response says when to retry."""

    def __init__(self, quota: Quota) -> None:
        super().__init__(retry_after=quota.reset_after, headers=quota.headers())
        self.quota = quota


class RateLimited(LimitReached):
    """The rate limit is reached."""

    default_detail = "Too many requests. Try again later."


class ConcurrencyLimited(LimitReached):
    """Too many at the same time."""

    default_detail = "Too many at the same time. Try again when one of them has ended."


class LimitsUnavailable(Unavailable):
    """Redis does not answer, so limits cannot be checked."""


def tenant_key(tenant_id: UUID | None, *parts: str) -> str:
    """Make the key of a tenant's limit, in the one slot that all the tenant's limits share."""
    return ":".join((f"{{{tenant_id}}}", *parts))


@dataclass(frozen=True)
class Grant:
    """The result of an admission: the quota with the least left, and one lease for all slots."""

    quota: Quota | None
    lease: "SlotLease"

    def headers(self) -> dict[str, str]:
        """Return the headers that tell the caller what is left."""
        return self.quota.headers() if self.quota else {}

    @contextlib.asynccontextmanager
    async def released_on_error(self) -> AsyncIterator[None]:
        """Release the slots when what they were taken for raises."""
        try:
            yield
        except BaseException:
            await self.lease.release()
            raise


class Limits:
    """Grants what rates and slots allow; LimitsUnavailable when Redis is silent for `timeout` seconds."""

    def __init__(self, redis: Redis, *, timeout: float | None = None) -> None:
        self._redis = redis
        self._timeout = timeout or TIMEOUT_SECONDS
        self._admit = redis.register_script(ADMIT)
        self._renew = redis.register_script(RENEW)

    async def take(self, key: str, *, limit: int, per: float = 60.0) -> Quota:
        """Count one of `limit` in `per` seconds; raises RateLimited."""
        admission = await self.admit(Rate(key, limit, per))
        assert admission.quota is not None  # noqa: S101  # there was one rate
        return admission.quota

    @contextlib.asynccontextmanager
    async def lease(self, key: str, *, limit: int, ttl: float = 60.0) -> AsyncIterator["SlotLease"]:
        """Lease one of `limit` slots for as long as the block lasts; raises ConcurrencyLimited."""
        admission = await self.admit(Concurrency(key, limit, ttl))
        async with admission.lease:
            yield admission.lease

    async def admit(self, *limits: Rate | Concurrency) -> Grant:
        """Count one against each limit, or none; raises RateLimited or ConcurrencyLimited.

        The lease is the caller's: use it as a context manager, also in another task, or renew and release it.
        """
        rates = [one for one in limits if isinstance(one, Rate)]
        lease = SlotLease(self, [one for one in limits if isinstance(one, Concurrency)])
        sizes = [size for rate in rates for size in (rate.limit, _micro(rate.per))]
        sizes += [size for slots in lease.slots for size in (slots.limit, _micro(slots.ttl))]
        keys = [_key("rate", rate.key) for rate in rates] + lease.keys
        refused, *numbers = await self.call(self._admit(keys, [lease.id, len(rates), *sizes]))
        if refused:
            raise _refusal([*rates, *lease.slots][refused - 1], numbers[0] / MICRO)
        quotas = [
            Quota(rate.limit, left, full / MICRO, rate.per)
            for rate, left, full in zip(rates, numbers[::2], numbers[1::2], strict=True)
        ]
        return Grant(min(quotas, key=lambda quota: quota.remaining, default=None), lease)

    async def renew(self, lease: "SlotLease") -> bool:
        """Renew a lease for another ttl from now; returns whether it was still held."""
        ttls = [_micro(slots.ttl) for slots in lease.slots]
        return bool(await self.call(self._renew(lease.keys, [lease.id, *ttls])))

    async def release(self, lease: "SlotLease") -> None:
        """Release a lease."""
        pipeline = self._redis.pipeline(transaction=False)
        for key in lease.keys:
            pipeline.zrem(key, lease.id)
        await self.call(pipeline.execute())

    async def call(self, command: Awaitable[Any]) -> Any:
        """Call Redis with a timeout."""
        try:
            async with asyncio.timeout(self._timeout):
                return await command
        except (RedisError, OSError) as error:
            raise LimitsUnavailable from error


class SlotLease:
    """Acquired slots. They expire unless renewed, as when the process dies."""

    def __init__(self, limits: Limits, slots: Sequence[Concurrency]) -> None:
        self.id = uuid4().hex
        self.slots = slots
        self.keys = [_key("slots", one.key) for one in slots]
        self._limits = limits
        self._renewer: asyncio.Task[None] | None = None

    async def renew(self) -> bool:
        """Renew it for another ttl from now; returns whether it was still held."""
        return await self._limits.renew(self)

    async def release(self) -> None:
        """Release it, also when the work is being cancelled; if Redis is away, it expires by itself."""
        with contextlib.suppress(LimitsUnavailable), anyio.CancelScope(shield=True):
            await self._limits.release(self)

    async def __aenter__(self) -> Self:
        """Renew it from now on, for as long as it is needed."""
        if self.slots:
            self._renewer = asyncio.create_task(self._renew_forever(min(one.ttl for one in self.slots) / 3))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Release it."""
        if self._renewer is not None:
            self._renewer.cancel()
        await self.release()

    async def _renew_forever(self, pause: float) -> None:
        is_renewed = True
        while is_renewed:
            await asyncio.sleep(pause)
            with contextlib.suppress(LimitsUnavailable):
                is_renewed = await self.renew()
            check_cancelled()
        logger.warning("lease lapsed before the work was done", extra={"slots": self.keys})


def _key(kind: str, key: str) -> str:
    # Without a hash tag of its own, the whole key is the tag.
    return f"{kind}:{key}" if "{" in key else f"{kind}:{{{key}}}"


def _micro(seconds: float) -> int:
    return round(seconds * MICRO)


def _refusal(by: Rate | Concurrency, wait: float) -> LimitReached:
    if isinstance(by, Rate):
        return RateLimited(Quota(by.limit, 0, wait, by.per))
    return ConcurrencyLimited(Quota(by.limit, 0, min(wait, MAX_RETRY_AFTER)))
