"""Codes of an authenticator app (TOTP, RFC 6238): six digits, 30 seconds each, good once."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pyotp
from pyotp.utils import strings_equal
from servicekit.encryption import DecryptionFailed, decrypt, decrypt_by_any, encrypt
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from auth.factors.errors import InvalidFactor, InvalidTotpCode, TotpAlreadyExists
from auth.models import Totp, User
from auth.services import AuthServices

# RFC 4226 section 4, R6: 160 bits; each character of the seed is five of them.
SEED_LENGTH = 32
STEP_SECONDS = 30
# A code is accepted this long before its step begins (the app's clock is ahead) and after its step ends (the
# clock is behind, typing takes time). Together one step, so that at any moment exactly two codes are right.
EARLY_SECONDS, LATE_SECONDS = 5, 25
ISSUER = "Acme"

clock: Callable[[], float] = time.time


async def begin(db: AsyncSession, services: AuthServices, user: User) -> tuple[str, str]:
    """Return a new seed and its `otpauth` URL, replacing an unconfirmed one; raises TotpAlreadyExists."""
    await db.execute(delete(Totp).where(Totp.user_id == user.id, Totp.confirmed_at.is_(None)))
    if await find(db, user.id):
        raise TotpAlreadyExists
    seed, totp_id = pyotp.random_base32(SEED_LENGTH), uuid4()
    sealed = encrypt(
        services.settings.auth_session_encryption_key.current, seed, context=encryption_context(totp_id)
    )
    db.add(Totp(id=totp_id, user_id=user.id, sealed_seed=sealed))
    return seed, pyotp.TOTP(seed).provisioning_uri(name=user.email, issuer_name=ISSUER)


@dataclass(frozen=True)
class VerifiedTotp:
    """An app that is not confirmed yet, and the time step of its first correct code."""

    totp_id: UUID
    step: int


async def verify_first_code(
    db: AsyncSession, services: AuthServices, user_id: UUID, code: str
) -> VerifiedTotp:
    """Check the first code of a new app; raises InvalidTotpCode or TotpAlreadyExists."""
    totp = await find(db, user_id)
    if totp is None:
        raise InvalidTotpCode
    if totp.confirmed_at:
        raise TotpAlreadyExists
    if not (step := matching_step(services, totp, code)):
        raise InvalidTotpCode
    return VerifiedTotp(totp.id, step)


async def confirm(db: AsyncSession, checked: VerifiedTotp) -> None:
    """Confirm an app by its first code, which is thereby consumed; raises TotpAlreadyExists."""
    confirmed = await db.scalar(
        update(Totp)
        .where(Totp.id == checked.totp_id, Totp.confirmed_at.is_(None))
        .values(confirmed_at=datetime.now(UTC), last_step=checked.step)
        .returning(Totp.id)
    )
    if confirmed is None:
        raise TotpAlreadyExists


async def consume_code(db: AsyncSession, services: AuthServices, user_id: UUID, code: str) -> None:
    """Consume a code and all earlier ones: of concurrent calls one succeeds; raises InvalidFactor."""
    totp = await find(db, user_id)
    if totp is None or not totp.confirmed_at or not (step := matching_step(services, totp, code)):
        raise InvalidFactor
    moved = await db.scalar(
        update(Totp)
        .where(Totp.id == totp.id, Totp.last_step < step)
        .values(last_step=step, **reencrypted(services, totp))
        .returning(Totp.id)
        .execution_options(synchronize_session=False)
    )
    if moved is None:
        raise InvalidFactor


async def find(db: AsyncSession, user_id: UUID) -> Totp | None:
    """Return a user's authenticator app, confirmed or not."""
    totp: Totp | None = await db.scalar(select(Totp).where(Totp.user_id == user_id))
    return totp


def matching_step(services: AuthServices, totp: Totp, code: str) -> int | None:
    """Return the time step that a code belongs to if it is acceptable now; compared in constant time."""
    seed = decrypt_by_any(
        services.settings.session_keys,
        totp.sealed_seed,
        context=encryption_context(totp.id),
    )
    app, now = pyotp.TOTP(seed, interval=STEP_SECONDS), clock()
    first, last = (int(at // STEP_SECONDS) for at in (now - LATE_SECONDS, now + EARLY_SECONDS))
    matching = [step for step in range(first, last + 1) if strings_equal(app.generate_otp(step), code)]
    return matching[0] if matching else None


def reencrypted(services: AuthServices, totp: Totp) -> dict[str, str]:
    """Return the seed encrypted with the current key, if it is encrypted with an older one."""
    today, *_ = services.settings.session_keys
    try:
        decrypt(today, totp.sealed_seed, context=encryption_context(totp.id))
    except DecryptionFailed:
        seed = decrypt_by_any(
            services.settings.session_keys,
            totp.sealed_seed,
            context=encryption_context(totp.id),
        )
        return {"sealed_seed": encrypt(today, seed, context=encryption_context(totp.id))}
    return {}


def encryption_context(totp_id: UUID) -> str:
    """Return the encryption context that binds a seed to its row."""
    return f"auth.totp:{totp_id}"
