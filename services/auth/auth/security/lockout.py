"""Lockout after failed sign-ins, counted by account, by known device, and by address.

An attempt is counted before the password is looked at and taken back when it was right, so that many at once
are no more than one after the other. While those under way would fill a counter if all of them failed, others
wait until that is decided: a moment, holding nothing, or they are told to come again; with an account or
without one. Strangers have one counter for an account, its known devices others: who locks an account from
outside does not lock its owner out. When Redis is away nobody gets in.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Self
from uuid import uuid4

from redis.asyncio import Redis
from servicekit.rate_limits import ConcurrencyLimited, Limits, Quota, RateLimited

from auth.models import User
from auth.security.bounded_wait import BoundedWait
from auth.security.keyed_hash import keyed_hash
from auth.settings import Settings

DAY_MILLI = 86_400_000
# All known devices of one account together, beside what each of them has.
DEVICES_FACTOR = 2
# NIST SP 800-63B-4, 3.2.2: no more than 100 failures in a row, whoever they come from. Beyond these come as
# many as were under way at once: a threshold (at most 10) of strangers, two of known devices. Those have some
# left when strangers have none.
MAX_FAILURES_UNKNOWN_DEVICE = 60
MAX_FAILURES = 80

# An attempt whose process died is no longer under way after this; it stays counted.
PENDING_TTL_MILLI = 10_000
RETRY_AFTER_SECONDS = 1.0

# KEYS: the index of an account's counters, then each counter and which of its attempts are under way. ARGV:
# window and duration (ms), the attempt (if any), its longest way (ms), then a threshold for each counter.
# Counts one more in all of them, unless one is full; returns {whether it counted, whether one is full by it},
# or nothing while it depends on attempts under way. A counter that fills up stays full for the duration.
COUNT = """
local window, duration = tonumber(ARGV[1]), tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local undecided = false
for i = 2, #KEYS, 2 do
    redis.call('ZREMRANGEBYSCORE', KEYS[i + 1], '-inf', now)
    if tonumber(redis.call('GET', KEYS[i]) or '0') >= tonumber(ARGV[4 + i / 2]) then
        if redis.call('ZCARD', KEYS[i + 1]) == 0 then return {0, 0} end
        undecided = true
    end
end
if undecided then return {} end
local filled = 0
for i = 2, #KEYS, 2 do
    local count = redis.call('INCR', KEYS[i])
    if count == 1 then redis.call('PEXPIRE', KEYS[i], window) end
    if count >= tonumber(ARGV[4 + i / 2]) then
        redis.call('PEXPIRE', KEYS[i], duration)
        filled = 1
    end
    if ARGV[3] ~= '' then
        redis.call('ZADD', KEYS[i + 1], now + ARGV[4], ARGV[3])
        redis.call('PEXPIRE', KEYS[i + 1], ARGV[4])
    end
    redis.call('SADD', KEYS[1], KEYS[i])
end
redis.call('PEXPIRE', KEYS[1], window + duration)
return {1, filled}
"""

# KEYS: counters, each with what is under way. ARGV: an attempt. Takes it back from each that still counts.
CANCEL = """
for i = 1, #KEYS, 2 do
    redis.call('ZREM', KEYS[i + 1], ARGV[1])
    if tonumber(redis.call('GET', KEYS[i]) or '0') > 0 then redis.call('DECR', KEYS[i]) end
end
"""

# KEYS: counters, each with what is under way. ARGV: an attempt that was right. From now on each counts only
# the others that are under way, which may yet be wrong.
SUCCEED = """
for i = 1, #KEYS, 2 do
    redis.call('ZREM', KEYS[i + 1], ARGV[1])
    local left = redis.call('ZCARD', KEYS[i + 1])
    if left == 0 then
        redis.call('DEL', KEYS[i])
    elseif redis.call('EXISTS', KEYS[i]) == 1 then
        redis.call('SET', KEYS[i], left, 'KEEPTTL')
    end
end
"""

# KEYS: the index of an account's counters, all of which share its slot, and whether its owner was told.
CLEAR = """
for _, key in ipairs(redis.call('SMEMBERS', KEYS[1])) do redis.call('DEL', key) end
redis.call('DEL', KEYS[1], KEYS[2])
"""


@dataclass(frozen=True)
class LockoutPolicy:
    """The number of failures in a window that locks, and for how long; times in ms."""

    threshold: int
    window: int
    duration: int

    @classmethod
    def from_minutes(cls, threshold: int, window: int, duration: int) -> Self:
        """Build from what the settings say."""
        return cls(threshold, window * 60_000, duration * 60_000)


@dataclass(frozen=True)
class Attempt:
    """An attempt to sign in, and the counters that it was counted in; `fills` says that failing it blocks."""

    id: str
    account: str
    counters: tuple[str, ...]
    address: str
    counted: bool
    would_lock: bool
    is_known: bool

    def may_try(self, user: User) -> bool:
        """Return whether the password may be verified."""
        return self.counted and user.failed_sign_ins < (
            MAX_FAILURES if self.is_known else MAX_FAILURES_UNKNOWN_DEVICE
        )


class Lockout:
    """Counts failures in Redis, where nobody is named; raises LimitsUnavailable when it is away."""

    def __init__(self, settings: Settings, limits: Limits, redis: Redis) -> None:
        self._accounts = LockoutPolicy.from_minutes(
            settings.auth_lockout_threshold,
            settings.auth_lockout_window_minutes,
            settings.auth_lockout_duration_minutes,
        )
        self._addresses = LockoutPolicy.from_minutes(
            settings.auth_ip_lockout_threshold,
            settings.auth_ip_lockout_window_minutes,
            settings.auth_ip_lockout_duration_minutes,
        )
        self._key = settings.auth_session_ip_hash_salt.current
        self._limits = limits
        self._redis = redis
        self._waiting = BoundedWait()
        self._count = redis.register_script(COUNT)
        self._take_back = redis.register_script(CANCEL)
        self._begin_anew = redis.register_script(SUCCEED)
        self._clear = redis.register_script(CLEAR)

    async def start_attempt(self, email_key: str, known_by: str | None, address: bytes) -> Attempt:
        """Count an attempt on an account; call it with no transaction open, for it may have to wait.

        `known_by` names the known device that it comes from. Raises RateLimited where an address has failed
        too often, ConcurrencyLimited when others on the account stay under way for too long.
        """
        account, threshold = self._account(email_key), self._accounts.threshold
        ip_counter = f"auth:failures:{{from:{address.hex()[:32]}}}"
        await self._refuse_blocked(ip_counter)
        counters = {f"{account}:strangers": threshold}
        if known_by:
            own = f"{account}:device:{self._hash('known device', known_by)}"
            counters = {own: threshold, f"{account}:devices": threshold * DEVICES_FACTOR}
        attempt = uuid4().hex
        count = partial(self._try_count, self._accounts, f"{account}:index", counters, attempt)
        outcome = await count() or await self._waiting.poll(count)
        if outcome is None:
            raise ConcurrencyLimited(Quota(threshold, 0, RETRY_AFTER_SECONDS))
        return Attempt(attempt, account, tuple(counters), ip_counter, *outcome, known_by is not None)

    async def fail(self, attempt: Attempt) -> bool:
        """Confirm that an attempt failed, and count it for its IP; return whether that is blocked by it."""
        for counter in attempt.counters:
            await self._limits.call(self._redis.zrem(pending_key(counter), attempt.id))
        counters = {attempt.address: self._addresses.threshold}
        outcome = await self._try_count(self._addresses, f"{attempt.address}:index", counters)
        return outcome is not None and outcome[1]

    async def succeed(self, attempt: Attempt) -> None:
        """Reset the counters of a successful attempt, except the one of its IP."""
        await self._limits.call(self._begin_anew(with_pending_keys(attempt.counters), [attempt.id]))

    async def cancel(self, attempt: Attempt) -> None:
        """Cancel an attempt whose password could not be verified."""
        if attempt.counted:
            await self._limits.call(self._take_back(with_pending_keys(attempt.counters), [attempt.id]))

    async def should_notify_owner(self, attempt: Attempt) -> bool:
        """Return whether to notify the owner of the lock: at most once a day."""
        telling = self._redis.set(f"{attempt.account}:told", 1, nx=True, px=DAY_MILLI)
        return bool(await self._limits.call(telling))

    async def reset(self, email_key: str) -> None:
        """Reset all counters of an account."""
        account = self._account(email_key)
        await self._limits.call(self._clear([f"{account}:index", f"{account}:told"]))

    def _account(self, email_key: str) -> str:
        return f"auth:failures:{{{self._hash('account', email_key)}}}"

    def _hash(self, purpose: str, name: str) -> str:
        return keyed_hash(self._key, purpose, name).hex()[:32]

    async def _try_count(
        self, policy: LockoutPolicy, index: str, counters: dict[str, int], attempt: str = ""
    ) -> tuple[bool, bool] | None:
        # Without an attempt, what is counted is over by then.
        sizes = (policy.window, policy.duration, attempt, PENDING_TTL_MILLI, *counters.values())
        arguments = [str(size) for size in sizes]
        outcome = await self._limits.call(self._count([index, *with_pending_keys(counters)], arguments))
        return (bool(outcome[0]), bool(outcome[1])) if outcome else None

    async def _refuse_blocked(self, address: str) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.get(address)
        pipeline.pttl(address)
        count, remaining = await self._limits.call(pipeline.execute())
        if int(count or 0) >= self._addresses.threshold:
            per = self._addresses.window / 1000
            raise RateLimited(Quota(self._addresses.threshold, 0, max(remaining, 1) / 1000, per))


def pending_key(counter: str) -> str:
    """Return the key of a counter's pending attempts."""
    return f"{counter}:under-way"


def with_pending_keys(counters: Iterable[str]) -> list[str]:
    """Return the keys of counters, each followed by that of its pending attempts."""
    return [key for counter in counters for key in (counter, pending_key(counter))]
