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

from auth.factors.errors import CodeRefused, FactorRefused, TotpExists
from auth.models import Totp, User
from auth.services import Parts

# RFC 4226 section 4, R6: 160 bits; each character of the seed is five of them.
SEED_LENGTH = 32
STEP_SECONDS = 30
# A code is accepted this long before its step begins (the app's clock is ahead) and after its step ends (the
# clock is behind, typing takes time). Together one step, so that at any moment exactly two codes are right.
EARLY_SECONDS, LATE_SECONDS = 5, 25
ISSUER = "Acme"

clock: Callable[[], float] = time.time


async def begin(db: AsyncSession, parts: Parts, user: User) -> tuple[str, str]:
    """Give a new seed and its `otpauth` address; one that was not confirmed is void; raises TotpExists."""
    await db.execute(delete(Totp).where(Totp.user_id == user.id, Totp.confirmed_at.is_(None)))
    if await find(db, user.id):
        raise TotpExists
    seed, totp_id = pyotp.random_base32(SEED_LENGTH), uuid4()
    sealed = encrypt(parts.settings.auth_session_encryption_key, seed, context=context(totp_id))
    db.add(Totp(id=totp_id, user_id=user.id, sealed_seed=sealed))
    return seed, pyotp.TOTP(seed).provisioning_uri(name=user.email, issuer_name=ISSUER)


@dataclass(frozen=True)
class Checked:
    """An app that is not confirmed yet, and the time step of the right code that it has shown."""

    totp_id: UUID
    step: int


async def check(db: AsyncSession, parts: Parts, user_id: UUID, code: str) -> Checked:
    """Check the first code of a new app; raises CodeRefused or TotpExists."""
    totp = await find(db, user_id)
    if totp is None:
        raise CodeRefused
    if totp.confirmed_at:
        raise TotpExists
    if not (step := step_of(parts, totp, code)):
        raise CodeRefused
    return Checked(totp.id, step)


async def confirm(db: AsyncSession, checked: Checked) -> None:
    """Let an app count that has shown a right code, which is used up by this, too; raises TotpExists."""
    confirmed = await db.scalar(
        update(Totp)
        .where(Totp.id == checked.totp_id, Totp.confirmed_at.is_(None))
        .values(confirmed_at=datetime.now(UTC), last_step=checked.step)
        .returning(Totp.id)
    )
    if confirmed is None:
        raise TotpExists


async def use(db: AsyncSession, parts: Parts, user_id: UUID, code: str) -> None:
    """Use a code up, and all before it: of many at once, one moves the step on; raises FactorRefused."""
    totp = await find(db, user_id)
    if totp is None or not totp.confirmed_at or not (step := step_of(parts, totp, code)):
        raise FactorRefused
    moved = await db.scalar(
        update(Totp)
        .where(Totp.id == totp.id, Totp.last_step < step)
        .values(last_step=step, **resealed(parts, totp))
        .returning(Totp.id)
        .execution_options(synchronize_session=False)
    )
    if moved is None:
        raise FactorRefused


async def find(db: AsyncSession, user_id: UUID) -> Totp | None:
    """Give somebody's app, confirmed or not."""
    found: Totp | None = await db.scalar(select(Totp).where(Totp.user_id == user_id))
    return found


def step_of(parts: Parts, totp: Totp, code: str) -> int | None:
    """Return the time step that a code belongs to if it is acceptable now; compared in constant time."""
    seed = decrypt_by_any(parts.settings.session_keys, totp.sealed_seed, context=context(totp.id))
    app, now = pyotp.TOTP(seed, interval=STEP_SECONDS), clock()
    first, last = (int(at // STEP_SECONDS) for at in (now - LATE_SECONDS, now + EARLY_SECONDS))
    matching = [step for step in range(first, last + 1) if strings_equal(app.generate_otp(step), code)]
    return matching[0] if matching else None


def resealed(parts: Parts, totp: Totp) -> dict[str, str]:
    """Give the seed under the key of today, if it is under the one before; it lives as long as the app."""
    today, *_ = parts.settings.session_keys
    try:
        decrypt(today, totp.sealed_seed, context=context(totp.id))
    except DecryptionFailed:
        seed = decrypt_by_any(parts.settings.session_keys, totp.sealed_seed, context=context(totp.id))
        return {"sealed_seed": encrypt(today, seed, context=context(totp.id))}
    return {}


def context(totp_id: UUID) -> str:
    """Bind a sealed seed to its row."""
    return f"auth.totp:{totp_id}"
