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
from auth.factors.errors import ChallengeInvalid
from auth.models import Aim, Challenge
from auth.security.keyed_hash import digest
from auth.services import Parts

LIFE = timedelta(minutes=5)
RANDOM_BYTES = 32


@dataclass(frozen=True)
class Asked:
    """A challenge as its client gets it, and what a passkey would sign for it."""

    token: str
    to_sign: bytes


def ask(  # noqa: PLR0913  # what a challenge is bound to
    db: AsyncSession,
    parts: Parts,
    aim: Aim,
    *,
    user_id: UUID | None = None,
    tenant_id: UUID | None = None,
    session_id: UUID | None = None,
    amr: Sequence[str] = (),
) -> Asked:
    """Make a challenge for whoever is asking from where they are; `amr` is what was proved before."""
    token = jose.encode(secrets.token_bytes(RANDOM_BYTES))
    db.add(
        Challenge(
            digest=kept(parts, token)[0],
            aim=aim,
            user_id=user_id,
            tenant_id=tenant_id,
            session_id=session_id,
            amr=list(amr),
            origin_digest=here()[0],
            expires_at=datetime.now(UTC) + LIFE,
        )
    )
    return Asked(token, to_sign(token))


async def whose(db: AsyncSession, parts: Parts, aim: Aim, token: str) -> UUID:
    """Tell who was asked, and leave the challenge as it is; raises ChallengeInvalid."""
    user_id = await db.scalar(select(Challenge.user_id).where(open_(parts, aim, token)))
    if user_id is None:
        raise ChallengeInvalid
    return user_id


async def take(
    db: AsyncSession, parts: Parts, aim: Aim, token: str, *which: ColumnElement[bool]
) -> Challenge:
    """Use a challenge up: of many at once, one finds it; raises ChallengeInvalid."""
    taken: Challenge | None = await db.scalar(
        delete(Challenge).where(open_(parts, aim, token), *which).returning(Challenge)
    )
    if taken is None:
        raise ChallengeInvalid
    return taken


def to_sign(token: str) -> bytes:
    """Give what a passkey signs for a challenge, whatever the peppers are by then: it is no secret."""
    return hashlib.sha256(f"webauthn challenge {token}".encode()).digest()


def open_(parts: Parts, aim: Aim, token: str) -> ColumnElement[bool]:
    """Say which row a challenge is, if it may be answered here and now."""
    return and_(
        Challenge.digest.in_(kept(parts, token)),
        Challenge.aim == aim,
        Challenge.origin_digest.in_(here()),
        Challenge.expires_at > func.now(),
    )


def kept(parts: Parts, token: str) -> list[bytes]:
    """Give what a challenge may be found by, a new one by the first."""
    return [digest(pepper, "challenge", token) for pepper in parts.settings.refresh_peppers]


def here() -> tuple[bytes, ...]:
    """Give the digests of where the request comes from."""
    return found.digests if (found := client_info.current()) else (b"",)
