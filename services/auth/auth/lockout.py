"""Keeping guessers out: failures are counted by account, by known device, and by address.

An attempt is counted before the password is looked at and taken back when it was right, so that many at once
are no more than one after the other. Strangers have one counter for an account, its known devices others: who
locks an account from outside does not lock its owner out. When Redis is away nobody gets in.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from redis.asyncio import Redis
from servicekit.limits import Limits, Quota, RateLimited
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from auth.digests import digest
from auth.errors import TooManySignIns
from auth.models import User
from auth.settings import Settings

if TYPE_CHECKING:
    from auth.parts import Parts

DAY_MILLI = 86_400_000
# All known devices of one account together, beside what each of them has.
DEVICES_TIMES = 2
# NIST SP 800-63B-4, 3.2.2: no more than 100 failures in a row, whoever they come from. Beyond these come as
# many as were under way at once: a threshold (at most 10) of strangers, two of known devices. Those have some
# left when strangers have none.
MOST_OF_STRANGERS = 60
MOST = 80

# KEYS: the index of an account's counters, then counters. ARGV: window and duration (ms), then a threshold
# for each counter. Counts one more in all of them, unless one is full; gives {whether it counted, whether one
# is full by it}. A counter that fills up stays full for the duration.
COUNT = """
local window, duration = tonumber(ARGV[1]), tonumber(ARGV[2])
for i = 2, #KEYS do
    if tonumber(redis.call('GET', KEYS[i]) or '0') >= tonumber(ARGV[i + 1]) then
        return {0, 0}
    end
end
local filled = 0
for i = 2, #KEYS do
    local count = redis.call('INCR', KEYS[i])
    if count == 1 then redis.call('PEXPIRE', KEYS[i], window) end
    if count >= tonumber(ARGV[i + 1]) then
        redis.call('PEXPIRE', KEYS[i], duration)
        filled = 1
    end
    redis.call('SADD', KEYS[1], KEYS[i])
end
redis.call('PEXPIRE', KEYS[1], window + duration)
return {1, filled}
"""

# KEYS: counters. Takes one back from each that still counts.
TAKE_BACK = """
for _, key in ipairs(KEYS) do
    if tonumber(redis.call('GET', key) or '0') > 0 then redis.call('DECR', key) end
end
"""

# KEYS: the index of an account's counters, all of which share its slot, and whether its owner was told.
CLEAR = """
for _, key in ipairs(redis.call('SMEMBERS', KEYS[1])) do redis.call('DEL', key) end
redis.call('DEL', KEYS[1], KEYS[2])
"""


@dataclass(frozen=True)
class Policy:
    """So many failures in a window are too many, and for how long nobody is let in then; in ms."""

    threshold: int
    window: int
    duration: int

    @classmethod
    def of_minutes(cls, threshold: int, window: int, duration: int) -> Self:
        """Build from what the settings say."""
        return cls(threshold, window * 60_000, duration * 60_000)


@dataclass(frozen=True)
class Attempt:
    """An attempt to sign in, and the counters that it was counted in; `fills` says that failing it blocks."""

    account: str
    counters: tuple[str, ...]
    address: str
    counted: bool
    fills: bool
    is_known: bool

    def may_try(self, user: User) -> bool:
        """Tell whether the password is to be looked at."""
        return self.counted and user.failed_sign_ins < (MOST if self.is_known else MOST_OF_STRANGERS)


class Lockout:
    """Counts failures in Redis, where nobody is named; raises LimitsUnavailable when it is away."""

    def __init__(self, settings: Settings, limits: Limits, redis: Redis) -> None:
        self._accounts = Policy.of_minutes(
            settings.auth_lockout_threshold,
            settings.auth_lockout_window_minutes,
            settings.auth_lockout_duration_minutes,
        )
        self._addresses = Policy.of_minutes(
            settings.auth_ip_lockout_threshold,
            settings.auth_ip_lockout_window_minutes,
            settings.auth_ip_lockout_duration_minutes,
        )
        self._key = settings.auth_session_ip_hash_salt
        self._limits = limits
        self._redis = redis
        self._count = redis.register_script(COUNT)
        self._take_back = redis.register_script(TAKE_BACK)
        self._clear = redis.register_script(CLEAR)

    async def begin(self, email_key: str, known_by: str | None, address: bytes) -> Attempt:
        """Count an attempt on an account; raises RateLimited where an address has failed too often.

        `known_by` names the known device that it comes from.
        """
        account, threshold = self._account(email_key), self._accounts.threshold
        held = f"auth:failures:{{from:{address.hex()[:32]}}}"
        await self._refuse_blocked(held)
        counters = {f"{account}:strangers": threshold}
        if known_by:
            own = f"{account}:device:{self._hidden('known device', known_by)}"
            counters = {own: threshold, f"{account}:devices": threshold * DEVICES_TIMES}
        counted, fills = await self._counted(self._accounts, f"{account}:index", counters)
        return Attempt(account, tuple(counters), held, counted, fills, known_by is not None)

    async def failed(self, attempt: Attempt) -> bool:
        """Leave an attempt counted, and count it for its address; tells whether that is blocked by it."""
        counters = {attempt.address: self._addresses.threshold}
        _, fills = await self._counted(self._addresses, f"{attempt.address}:index", counters)
        return fills

    async def passed(self, attempt: Attempt) -> None:
        """Begin to count anew where the attempt was counted; what an address has failed, it has failed."""
        await self._limits.call(self._redis.delete(*attempt.counters))

    async def take_back(self, attempt: Attempt) -> None:
        """Count an attempt no longer that could not be judged."""
        if attempt.counted:
            await self._limits.call(self._take_back(attempt.counters))

    async def first_telling(self, attempt: Attempt) -> bool:
        """Tell whether the owner has yet to be told of the block; that is once in a day at most."""
        telling = self._redis.set(f"{attempt.account}:told", 1, nx=True, px=DAY_MILLI)
        return bool(await self._limits.call(telling))

    async def forget(self, email_key: str) -> None:
        """Count nothing of an account any more, wherever it came from."""
        account = self._account(email_key)
        await self._limits.call(self._clear([f"{account}:index", f"{account}:told"]))

    def _account(self, email_key: str) -> str:
        return f"auth:failures:{{{self._hidden('account', email_key)}}}"

    def _hidden(self, purpose: str, name: str) -> str:
        return digest(self._key, purpose, name).hex()[:32]

    async def _counted(self, policy: Policy, index: str, counters: dict[str, int]) -> tuple[bool, bool]:
        numbers = [policy.window, policy.duration, *counters.values()]
        counted, fills = await self._limits.call(self._count([index, *counters], numbers))
        return bool(counted), bool(fills)

    async def _refuse_blocked(self, address: str) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.get(address)
        pipeline.pttl(address)
        count, left = await self._limits.call(pipeline.execute())
        if int(count or 0) >= self._addresses.threshold:
            per = self._addresses.window / 1000
            raise RateLimited(Quota(self._addresses.threshold, 0, max(left, 1) / 1000, per))


async def try_password(parts: "Parts", attempt: Attempt, user: User | None, password: str) -> bool:
    """Tell whether it is the account's password; never of an account that is locked, or nobody's.

    Takes the same time for all. Raises TooManySignIns; then the attempt is not counted.
    """
    kept = user.password_hash if user and attempt.may_try(user) else None
    try:
        # Between two transactions, so that nobody who waits for the hash keeps a connection from others.
        return await parts.passwords.verify(password, kept)
    except TooManySignIns:
        await parts.lockout.take_back(attempt)
        raise


async def note_wrong_password(db: AsyncSession, user: User) -> None:
    """Count a wrong password for good, until the right one comes."""
    more = {"failed_sign_ins": User.failed_sign_ins + 1}
    await db.execute(update(User).where(User.id == user.id).values(more))


async def clear(db: AsyncSession, parts: "Parts", user: User) -> None:
    """Open an account again that was blocked, as after a reset of its password."""
    await db.execute(update(User).where(User.id == user.id).values(failed_sign_ins=0))
    await parts.lockout.forget(user.email_key)
