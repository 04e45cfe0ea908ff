"""Challenges: 256 random bits each, kept as a digest, good once, for five minutes, for whom they were made.

What a passkey signs is derived from the challenge, so there is one thing to keep and one to use up.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from servicekit.auth import jose
from sqlalchemy import ColumnElement, and_, delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import client_info
from auth.factors.errors import InvalidChallenge
from auth.models import Challenge, ChallengePurpose
from auth.security.keyed_hash import keyed_hash
from auth.services import AuthServices

TTL = timedelta(minutes=5)
RANDOM_BYTES = 32


@dataclass(frozen=True)
class IssuedChallenge:
    """A challenge as its client gets it, and what a passkey would sign for it."""

    token: str
    webauthn_challenge: bytes


def issue(  # noqa: PLR0913  # what a challenge is bound to
    db: AsyncSession,
    services: AuthServices,
    aim: ChallengePurpose,
    *,
    user_id: UUID | None = None,
    tenant_id: UUID | None = None,
    session_id: UUID | None = None,
    amr: Sequence[str] = (),
) -> IssuedChallenge:
    """Create a challenge for a user at their current address; `amr` lists the methods proved before."""
    token = jose.encode(secrets.token_bytes(RANDOM_BYTES))
    db.add(
        Challenge(
            digest=_digests(services, token)[0],
            aim=aim,
            user_id=user_id,
            tenant_id=tenant_id,
            session_id=session_id,
            amr=list(amr),
            origin_digest=current_ip_hashes()[0],
            expires_at=datetime.now(UTC) + TTL,
        )
    )
    return IssuedChallenge(token, webauthn_challenge_of(token))


async def owner(db: AsyncSession, services: AuthServices, aim: ChallengePurpose, token: str) -> UUID:
    """Return the owner of a challenge without consuming it; raises InvalidChallenge."""
    user_id = await db.scalar(select(Challenge.user_id).where(_is_open(services, aim, token)))
    if user_id is None:
        raise InvalidChallenge
    return user_id


async def consume(
    db: AsyncSession, services: AuthServices, aim: ChallengePurpose, token: str, *which: ColumnElement[bool]
) -> Challenge:
    """Consume a challenge: of concurrent calls one succeeds; raises InvalidChallenge."""
    challenge: Challenge | None = await db.scalar(
        delete(Challenge).where(_is_open(services, aim, token), *which).returning(Challenge)
    )
    if challenge is None:
        raise InvalidChallenge
    return challenge


def webauthn_challenge_of(token: str) -> bytes:
    """Return the value that a passkey signs for a challenge; it depends on no pepper."""
    return hashlib.sha256(f"webauthn challenge {token}".encode()).digest()


def _is_open(services: AuthServices, aim: ChallengePurpose, token: str) -> ColumnElement[bool]:
    """Return the condition for a challenge that is valid now, at this address."""
    return and_(
        Challenge.digest.in_(_digests(services, token)),
        Challenge.aim == aim,
        Challenge.origin_digest.in_(current_ip_hashes()),
        Challenge.expires_at > func.now(),
    )


def _digests(services: AuthServices, token: str) -> list[bytes]:
    """Return the digests that a challenge can be stored under; the first is for new ones."""
    return [keyed_hash(pepper, "challenge", token) for pepper in services.settings.refresh_peppers]


def current_ip_hashes() -> tuple[bytes, ...]:
    """Return the digests of the client's address."""
    return client.digests if (client := client_info.current_client()) else (b"",)
