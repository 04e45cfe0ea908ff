"""Rate limits, by the address of the client and by the account that a request names.

All replicas count together. When Redis is away nobody gets in: unlimited guessing is worse than a pause.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from fastapi import Depends, Request
from pydantic import SecretStr
from servicekit.client_ip import client_ip, network_of
from servicekit.rate_limits import Limits, RateLimited

from auth.security.keyed_hash import keyed_hash
from auth.settings import Settings

Limit = tuple[int, int]


@dataclass(frozen=True)
class RateLimits:
    """The limits of this service; `allowed` maps `ip:<use>` and `subject:<use>` to count and seconds."""

    limits: Limits
    allowed: Mapping[str, Limit]
    key: SecretStr

    @classmethod
    def from_settings(cls, settings: Settings, limits: Limits) -> Self:
        """Build from the settings."""
        key = settings.auth_email_verification_token_pepper.current
        return cls(limits, settings.rate_limits, key)

    async def check_ip(self, use: str, address: str) -> None:
        """Count a use from an address; raises RateLimited."""
        limit, per = self.allowed[f"ip:{use}"]
        await self.limits.take(f"auth:{use}:from:{address}", limit=limit, per=per)

    async def check_subject(self, use: str, subject: str) -> None:
        """Count a use for an account, mailbox or session, unnamed in Redis; raises RateLimited."""
        limit, per = self.allowed[f"subject:{use}"]
        hidden = keyed_hash(self.key, "rate", subject).hex()[:32]
        await self.limits.take(f"auth:{use}:for:{hidden}", limit=limit, per=per)

    async def try_acquire_email(self, email_key: str) -> bool:
        """Return whether a mailbox may get one more email; the response must not depend on it."""
        return await self.try_acquire("mail", email_key)

    async def try_acquire(self, use: str, subject: str) -> bool:
        """Count a use; return whether it is within the limit, where an error would reveal too much."""
        try:
            await self.check_subject(use, subject)
        except RateLimited:
            return False
        return True


def rate_limited(use: str) -> Any:
    """Limit a route by the client's address."""

    async def limit(request: Request) -> None:
        rates: RateLimits = request.app.state.services.rates
        await rates.check_ip(use, network_of(client_ip(request)))

    return Depends(limit)
