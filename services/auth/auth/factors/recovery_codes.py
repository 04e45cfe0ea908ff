"""Recovery codes: ten of 80 bits each, shown once and good once, kept as keyed digests."""

import base64
import re
import secrets
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from auth import mails
from auth.audit import Action, record
from auth.digests import digest
from auth.events import MailKind
from auth.factors.errors import FactorRefused
from auth.models import RecoveryCode, User
from auth.parts import Parts

HOW_MANY = 10
RANDOM_BYTES = 10
_BETWEEN = re.compile(r"[\s-]+")


async def renew(db: AsyncSession, parts: Parts, user: User) -> list[str]:
    """Make new codes; the ones before are void."""
    await db.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user.id))
    codes = [code() for _ in range(HOW_MANY)]
    pepper = parts.settings.auth_password_pepper
    db.add_all(RecoveryCode(digest=kept(pepper, user.id, one), user_id=user.id) for one in codes)
    record(db, Action.RECOVERY_CODES_RENEWED, actor=user.subject)
    return codes


async def make_first(db: AsyncSession, parts: Parts, user: User) -> list[str] | None:
    """Make codes for somebody who never had any."""
    had = await db.scalar(select(RecoveryCode.digest).where(RecoveryCode.user_id == user.id).limit(1))
    return None if had else await renew(db, parts, user)


async def use(db: AsyncSession, parts: Parts, user: User, given: str) -> None:
    """Use a code up, in one statement: of many at once, one finds it unused; raises FactorRefused."""
    # Codes were shown once and cannot be hashed anew, so the pepper before this one opens them, too.
    peppers = (parts.settings.auth_password_pepper, parts.settings.auth_previous_password_pepper)
    used = await db.scalar(
        update(RecoveryCode)
        .where(
            RecoveryCode.user_id == user.id,
            RecoveryCode.digest.in_([kept(pepper, user.id, given) for pepper in peppers if pepper]),
            RecoveryCode.used_at.is_(None),
        )
        .values(used_at=func.now())
        .returning(RecoveryCode.digest)
        .execution_options(synchronize_session=False)
    )
    if used is None:
        raise FactorRefused
    left = await unused(db, user.id)
    record(db, Action.RECOVERY_CODE_USED, actor=user.subject, left=left)
    mails.send(db, parts, MailKind.RECOVERY_CODE_USED, mails.Recipient.of(user), left=str(left))


async def unused(db: AsyncSession, user_id: UUID) -> int:
    """Count the codes that are left."""
    mine = (RecoveryCode.user_id == user_id, RecoveryCode.used_at.is_(None))
    return await db.scalar(select(func.count()).where(*mine)) or 0


def code() -> str:
    """Make a code as it is written down: `abcd-efgh-ijkl-mnop`."""
    text = base64.b32encode(secrets.token_bytes(RANDOM_BYTES)).decode().lower()
    return "-".join(text[at : at + 4] for at in range(0, len(text), 4))


def kept(pepper: SecretStr, user_id: UUID, given: str) -> bytes:
    """Give what a code is found by, however it is typed."""
    return digest(pepper, "recovery code", user_id.bytes, _BETWEEN.sub("", given).lower())
