"""Sessions, passwords, second factors, and other ways to sign in."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, Field

from auth.configuration.types import DAY_MINUTES, Minutes

# The minimum of OWASP's password storage cheat sheet and of ASVS 5.0 (appendix C): 25 ms of one core.
MIN_PASSWORD_MEMORY_KIB = 19_456


class SessionSettings(BaseModel):
    """How long sessions last, and how many a person has."""

    # How long a refresh token may be unused, and how long a session may last (at most 30 days: NIST 2.1.3).
    auth_refresh_token_ttl_minutes: Minutes = 7 * DAY_MINUTES
    auth_session_ttl_minutes: Annotated[int, Field(ge=1, le=30 * DAY_MINUTES)] = 30 * DAY_MINUTES
    # The same for sessions of more than one factor. No shorter by default: docs/security.md says why.
    auth_mfa_session_idle_minutes: Annotated[int, Field(ge=15, le=30 * DAY_MINUTES)] = 7 * DAY_MINUTES
    auth_mfa_session_ttl_minutes: Annotated[int, Field(ge=15, le=30 * DAY_MINUTES)] = 30 * DAY_MINUTES
    auth_refresh_grace_seconds: Annotated[int, Field(ge=0, le=10)] = 10
    # One more live session ends the person's oldest one.
    auth_sessions_per_person: Annotated[int, Field(ge=1, le=100)] = 20
    # A database of MaxMind's format, for the city and country of sessions; without it, they have none.
    auth_geoip_database: Path | None = None

    def longest_session(self, amr: Sequence[str]) -> timedelta:
        """Return how long a session may last, by the methods (`amr`) that it began with."""
        longest = self.auth_session_ttl_minutes
        if "mfa" in amr:
            longest = min(longest, self.auth_mfa_session_ttl_minutes)
        return timedelta(minutes=longest)


class PasswordSettings(BaseModel):
    """How passwords are hashed and reset, and which are refused."""

    # The memory of Argon2id for one password, in KiB: more makes guessing, and each sign-in, more expensive.
    auth_password_memory_kib: Annotated[int, Field(ge=8, le=4 * 1024 * 1024)] = MIN_PASSWORD_MEMORY_KIB
    # A new password must differ from this many of the latest, the current one among them.
    auth_password_history_count: Annotated[int, Field(ge=0, le=24)] = 5
    password_reset_token_ttl_minutes: Annotated[int, Field(ge=1, le=60)] = 30

    def weak_password_hashing(self) -> list[str]:
        """List memory for Argon2id below the minimum."""
        is_weak = self.auth_password_memory_kib < MIN_PASSWORD_MEMORY_KIB
        return [f"AUTH_PASSWORD_MEMORY_KIB must be {MIN_PASSWORD_MEMORY_KIB} or more"] if is_weak else []


class SignInSettings(SessionSettings, PasswordSettings):
    """How people sign in."""

    # The address of the frontend: passkeys are bound to its host, unless another is named.
    app_public_url: str | None = None
    auth_webauthn_rp_id: str | None = None
    auth_webauthn_origins: list[str] = Field(default_factory=list)
    # How long a proof of identity is recent enough for sensitive actions (RFC 9470).
    auth_step_up_minutes: Annotated[int, Field(ge=1, le=60)] = 15
    # The least time of a refused sign-in, and of every response that must not reveal whether an address has
    # an account: more than the work takes on a busy machine (`python -m scripts.bench.refusals` measures it).
    auth_answer_floor_ms: Annotated[int, Field(ge=0, le=60_000)] = 400
    # After this many consecutive failures, over all factors, an account's factors are blocked.
    auth_second_factor_max_failures: Annotated[int, Field(ge=3, le=10)] = 5
    auth_second_factor_block_minutes: Annotated[int, Field(ge=1, le=DAY_MINUTES)] = 15
    # Off: anyone with access to a mailbox could sign in without a password.
    auth_magic_link_enabled: bool = False
    magic_link_token_ttl_minutes: Annotated[int, Field(ge=1, le=10)] = 10

    @property
    def answer_floor(self) -> float:
        """The least time, in seconds, of responses that must not reveal what is known of an address."""
        return self.auth_answer_floor_ms / 1000

    @property
    def rp_id(self) -> str | None:
        """The host that passkeys are bound to (WebAuthn section 5.1.2); None when it is not configured."""
        return self.auth_webauthn_rp_id or (urlsplit(self.app_public_url or "").hostname or None)

    @property
    def passkey_origins(self) -> list[str]:
        """The origins that passkeys may be used from: scheme, host and port."""
        page = urlsplit(self.app_public_url or "")
        return self.auth_webauthn_origins or [f"{page.scheme}://{page.netloc}"]
