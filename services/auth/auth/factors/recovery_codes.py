"""Recovery codes: ten of 135 random bits, shown once, used once, hashed by Argon2id like passwords.

A code begins with its number, by which it is found, so that one attempt costs one hash. Hashing is done with
no transaction open: codes are prepared before they are stored, and matched before they are used up. Codes of
an older version (80 bits in 16 characters, kept as a keyed digest) work until they are used or replaced.
"""

import asyncio
import secrets
from dataclasses import dataclass
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from auth import emails
from auth.audit import Action, record
from auth.events import EmailKind
from auth.factors.errors import InvalidFactor
from auth.models import RecoveryCode, User
from auth.security.keyed_hash import keyed_hash
from auth.services import AuthServices

CODE_COUNT = 10
# Crockford's base32: without i, l, o and u. What looks like one of them is read as what was meant.
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LOOKALIKES = str.maketrans("ilo", "110")
# The number, and 27 characters of five random bits each.
LENGTH = 28
GROUP = 4


@dataclass(frozen=True)
class HashedCode:
    """A new code in plain text, and its hash."""

    number: str
    text: str
    secret_hash: str


async def prepare(services: AuthServices) -> list[HashedCode]:
    """Create new codes and hash them; raises TooManySignIns."""
    codes = [generate(number) for number in range(CODE_COUNT)]
    hashes = await asyncio.gather(*(services.passwords.hash(code) for code in codes))
    return [
        HashedCode(code[0], format_code(code), secret_hash)
        for code, secret_hash in zip(codes, hashes, strict=True)
    ]


async def prepare_first(services: AuthServices, user_id: UUID) -> list[HashedCode]:
    """Create and hash codes for a user who never had any; none for others."""
    async with services.database.begin() as db:
        had = await has_any(db, user_id)
    return [] if had else await prepare(services)


async def renew(
    db: AsyncSession, services: AuthServices, user: User, prepared: list[HashedCode]
) -> list[str]:
    """Store new codes, and delete the previous ones."""
    await db.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user.id))
    pepper = services.settings.auth_password_pepper.current
    db.add_all(
        RecoveryCode(
            digest=lookup_digest(pepper, user.id, one.number), user_id=user.id, secret_hash=one.secret_hash
        )
        for one in prepared
    )
    record(db, Action.RECOVERY_CODES_RENEWED, actor=user.subject)
    return [one.text for one in prepared]


async def store_first(
    db: AsyncSession, services: AuthServices, user: User, prepared: list[HashedCode]
) -> list[str] | None:
    """Store the prepared codes of a locked user, unless others were stored meanwhile."""
    if not prepared or await has_any(db, user.id):
        return None
    return await renew(db, services, user, prepared)


async def has_any(db: AsyncSession, user_id: UUID) -> bool:
    """Return whether a user has codes, used or not."""
    return bool(await db.scalar(select(select(RecoveryCode).where(RecoveryCode.user_id == user_id).exists())))


async def find_matching(
    services: AuthServices, user_id: UUID, code_text: SecretStr | None
) -> RecoveryCode | None:
    """Return the row of an unused code; raises InvalidFactor or TooManySignIns.

    One hash is computed, also where there is no such code.
    """
    if code_text is None:
        return None
    typed = code_text.get_secret_value().lower()
    # The pepper before this one finds them, too: codes were shown once and cannot be keyed anew.
    peppers = services.settings.auth_password_pepper.values
    digests = [lookup_digest(pepper, user_id, typed) for pepper in peppers]
    unused = (RecoveryCode.user_id == user_id, RecoveryCode.used_at.is_(None))
    async with services.database.begin() as db:
        found = select(RecoveryCode).where(*unused, RecoveryCode.digest.in_(digests))
        code: RecoveryCode | None = await db.scalar(found)
    matches = await services.passwords.verify(typed.translate(LOOKALIKES), code.secret_hash if code else None)
    # An older code is found by all of it.
    if code is None or not (matches or code.secret_hash is None):
        raise InvalidFactor
    return code


async def consume(db: AsyncSession, services: AuthServices, user: User, code: RecoveryCode) -> None:
    """Consume a code that has matched, audit it and notify its owner; raises InvalidFactor."""
    await mark_used(db, code)
    left = await count_unused(db, user.id)
    record(db, Action.RECOVERY_CODE_USED, actor=user.subject, left=left)
    emails.request_email(
        db, services, EmailKind.RECOVERY_CODE_USED, emails.Recipient.from_user(user), left=str(left)
    )


async def mark_used(db: AsyncSession, code: RecoveryCode) -> None:
    """Mark a code as used: of concurrent calls one succeeds; raises InvalidFactor."""
    used = await db.scalar(
        update(RecoveryCode)
        .where(
            RecoveryCode.digest == code.digest,
            # Replaced meanwhile, it has another.
            RecoveryCode.secret_hash.is_not_distinct_from(code.secret_hash),
            RecoveryCode.used_at.is_(None),
        )
        .values(used_at=func.now())
        .returning(RecoveryCode.digest)
        .execution_options(synchronize_session=False)
    )
    if used is None:
        raise InvalidFactor


async def count_unused(db: AsyncSession, user_id: UUID) -> int:
    """Count the codes that are left."""
    mine = (RecoveryCode.user_id == user_id, RecoveryCode.used_at.is_(None))
    return await db.scalar(select(func.count()).where(*mine)) or 0


def generate(number: int) -> str:
    """Create a code: its number, then random characters."""
    return f"{number}{''.join(secrets.choice(ALPHABET) for _ in range(LENGTH - 1))}"


def format_code(code: str) -> str:
    """Format a code for people: `3abc-defg-hjkm-npqr-stvw-xyz2-4567`."""
    return "-".join(code[at : at + GROUP] for at in range(0, len(code), GROUP))


def lookup_digest(pepper: SecretStr, user_id: UUID, typed: str) -> bytes:
    """Return the digest that a code is found by: of its number, or of a whole older code."""
    if len(typed) in {1, LENGTH}:
        return keyed_hash(pepper, "recovery code number", user_id.bytes, typed[0].translate(LOOKALIKES))
    return keyed_hash(pepper, "recovery code", user_id.bytes, typed)
