"""Detects attacks on many accounts, which no counter of a single account shows.

Password spraying is one network that fails with many accounts; credential stuffing is many networks that do.
How many different ones there were is counted in Redis without keeping any of them (HyperLogLog), for an hour
from the first. Seeing an attack keeps nobody out: counters by account and address do that.
"""

from dataclasses import dataclass
from enum import StrEnum

from redis.asyncio import Redis
from servicekit.client_ip import mask_ip
from servicekit.rate_limits import Limits

from auth.security.keyed_hash import keyed_hash
from auth.settings import Settings

HOUR_MILLI = 3_600_000
DAY_MILLI = 24 * HOUR_MILLI

# KEYS: whether it was seen before, then what is counted. ARGV: for how long (ms), then for each of them what
# is new, and how many different ones are too many. Gives 1 the first time that there are too many of all.
DETECT = """
local seen = true
for i = 2, #KEYS do
    redis.call('PFADD', KEYS[i], ARGV[2 * i - 2])
    if redis.call('PTTL', KEYS[i]) < 0 then redis.call('PEXPIRE', KEYS[i], ARGV[1]) end
    seen = seen and redis.call('PFCOUNT', KEYS[i]) >= tonumber(ARGV[2 * i - 1])
end
if seen and redis.call('SET', KEYS[1], 1, 'NX', 'PX', ARGV[1]) then return 1 end
return 0
"""


class Attack(StrEnum):
    """What kind of attack it looks like."""

    PASSWORD_SPRAYING = "password_spraying"  # noqa: S105  # a word, not a password
    CREDENTIAL_STUFFING = "credential_stuffing"


@dataclass(frozen=True)
class Detection:
    """An attack that was detected for the first time in an hour; `is_news` once a day for each kind."""

    attack: Attack
    should_notify: bool


class AttackDetector:
    """Counts failed sign-ins in Redis, where nobody is named; raises LimitsUnavailable when it is away."""

    def __init__(self, settings: Settings, limits: Limits, redis: Redis) -> None:
        self._of_spraying = settings.auth_spraying_alarm_accounts
        self._of_stuffing = settings.auth_stuffing_alarm_accounts, settings.auth_stuffing_alarm_networks
        self._key = settings.auth_session_ip_hash_salt.current
        self._limits = limits
        self._redis = redis
        self._notice = redis.register_script(DETECT)

    async def record_failure(self, account: str, address: str) -> list[Detection]:
        """Count a failure from an address with an account, which need not exist; returns what shows by it."""
        network = keyed_hash(self._key, "network", mask_ip(address) or address).hex()[:32]
        accounts, networks = self._of_stuffing
        spraying = {f"auth:attack:{{from:{network}}}": (account, self._of_spraying)}
        anywhere = "auth:attack:{anywhere}"
        stuffing = {f"{anywhere}:accounts": (account, accounts), f"{anywhere}:networks": (network, networks)}
        looked_for = {Attack.PASSWORD_SPRAYING: spraying, Attack.CREDENTIAL_STUFFING: stuffing}
        detected = [attack for attack, counted in looked_for.items() if await self._is_detected(counted)]
        return [Detection(attack, await self._should_notify(attack)) for attack in detected]

    async def _is_detected(self, counted: dict[str, tuple[str, int]]) -> bool:
        keys = [f"{next(iter(counted))}:seen", *counted]
        values = [value for pair in counted.values() for value in pair]
        return bool(await self._limits.call(self._notice(keys, [HOUR_MILLI, *values])))

    async def _should_notify(self, attack: Attack) -> bool:
        telling = self._redis.set(f"auth:attack:told:{attack}", 1, nx=True, px=DAY_MILLI)
        return bool(await self._limits.call(telling))
