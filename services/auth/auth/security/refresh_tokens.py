"""Refresh tokens: 256 opaque bits each, of which only digests are kept.

A session's first token is random. Each further one is derived from the one before, the session's key and the
pepper. So whoever holds a token can be given its successor again (when the answer was lost, or twenty tabs
asked at once), and yet nothing that is stored, with or without the pepper, makes a token.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from pydantic import SecretStr
from servicekit.auth import jose

from auth.models import Session
from auth.security.keyed_hash import keyed_hash
from auth.settings import Settings

# Lets scanners of repositories and logs recognise a leaked one.
PREFIX = "acme_rt_"
RANDOM_BYTES = 32


@dataclass(frozen=True)
class RefreshTokens:
    """Creates refresh tokens, and knows their lifetime.

    Within `grace` of its use a token gives the same client the same successor again; after `idle` without
    use, or `idle_of_factors` in sessions of more than one factor, it is void.
    """

    # The first is for new tokens; those made with the others are good for as long as they would have been.
    peppers: tuple[SecretStr, ...]
    idle: timedelta
    idle_of_factors: timedelta
    grace: timedelta

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Build from the settings."""
        return cls(
            settings.refresh_peppers,
            idle=timedelta(minutes=settings.auth_refresh_token_ttl_minutes),
            idle_of_factors=timedelta(minutes=settings.auth_mfa_session_idle_minutes),
            grace=timedelta(seconds=settings.auth_refresh_grace_seconds),
        )

    def generate(self) -> str:
        """Create the first token of a session."""
        return PREFIX + jose.encode(secrets.token_bytes(RANDOM_BYTES))

    def successor(self, token: str, session_key: bytes) -> str:
        """Derive the one successor of a token."""
        return successor(self.peppers[0], token, session_key)

    def repeat_successor(self, token: str, session_key: bytes, stored_digest: bytes) -> str:
        """Derive the successor of a token that was made before, under whichever pepper, by its digest."""
        successors = [successor(pepper, token, session_key) for pepper in self.peppers]
        return next((one for one in successors if stored_digest in self.digests(one)), successors[0])

    def digest(self, token: str) -> bytes:
        """Return the digest of a new token."""
        return self.digests(token)[0]

    def digests(self, token: str) -> list[bytes]:
        """Return the digests that a token can be stored under."""
        return [keyed_hash(pepper, "refresh token", token) for pepper in self.peppers]

    def idle_timeout(self, amr: Sequence[str]) -> timedelta:
        """Return how long a session of these methods may be unused."""
        return min(self.idle, self.idle_of_factors) if "mfa" in amr else self.idle

    def expiry(self, session: Session, now: datetime) -> datetime:
        """Return until when a token issued now is good: never longer than its session."""
        return min(now + self.idle_timeout(session.amr), session.expires_at)


def successor(pepper: SecretStr, token: str, session_key: bytes) -> str:
    """Derive a token from the one before."""
    return PREFIX + jose.encode(keyed_hash(pepper, "refresh token successor", token, session_key))
