"""Wrong answers in a row: counted for each account, over all its factors and challenges together.

An answer is counted before it is looked at, so that twenty at once are not one attempt, and forgotten when it
was right. Whoever comes this far has proved something else before, so nobody can lock a stranger out.
"""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import case, delete, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from auth import emails
from auth.audit import Action, record
from auth.errors import SigningKeysUnavailable
from auth.events import MailKind
from auth.factors.errors import FactorRefused, FactorsBlocked
from auth.models import FactorAttempts, User
from auth.services import Parts
from auth.signing.vault import VaultUnavailable

# NIST SP 800-63B-4, 3.2.2: not more than 100 in a row, or what is guessed at is disabled.
MOST = 100
LONG = timedelta(days=1)
# No session could begin, and not because of the answer: that was right, or nothing would have been signed.
UNSIGNED = (SigningKeysUnavailable, VaultUnavailable)


async def count(parts: Parts, user_id: UUID) -> int:
    """Count an answer that is about to be looked at; raises FactorsBlocked."""
    settings = parts.settings
    block = timedelta(minutes=settings.auth_second_factor_block_minutes)
    more = FactorAttempts.failures + 1
    due = more % settings.auth_second_factor_max_failures == 0
    async with parts.database.begin() as db:
        failures: int | None = await db.scalar(
            insert(FactorAttempts)
            .values(user_id=user_id, failures=1)
            .on_conflict_do_update(
                index_elements=[FactorAttempts.user_id],
                set_={
                    "failures": more,
                    "blocked_until": case((due, func.now() + block), else_=FactorAttempts.blocked_until),
                },
                where=(FactorAttempts.failures < MOST)
                & or_(FactorAttempts.blocked_until.is_(None), FactorAttempts.blocked_until <= func.now()),
            )
            .returning(FactorAttempts.failures)
        )
        if failures is None:
            until = await db.scalar(
                select(FactorAttempts.blocked_until).where(
                    FactorAttempts.user_id == user_id, FactorAttempts.failures < MOST
                )
            )
            left = until - datetime.now(UTC) if until else LONG
            raise FactorsBlocked(retry_after=left.total_seconds())
    return failures


async def forget(db: AsyncSession, user_id: UUID) -> None:
    """Begin to count anew, because an answer was right."""
    await db.execute(delete(FactorAttempts).where(FactorAttempts.user_id == user_id))


async def forgive(parts: Parts, user_id: UUID) -> None:
    """Begin to count anew though what came of a right answer was undone: nobody is blocked by our outage."""
    async with parts.database.begin() as db:
        await forget(db, user_id)


async def refuse(parts: Parts, user_id: UUID, failures: int, refusal: FactorRefused) -> FactorRefused:
    """Write down that an answer was wrong; the one that blocks an account's factors is told to its owner."""
    async with parts.database.begin() as db:
        user = await db.get_one(User, user_id)
        record(db, Action.SECOND_FACTOR_FAIL, actor=user.subject)
        if refusal.cloned:
            record(db, Action.PASSKEY_CLONED, actor=user.subject, passkey=str(refusal.cloned))
        if failures % parts.settings.auth_second_factor_max_failures == 0:
            record(db, Action.SECOND_FACTOR_BLOCKED, actor=user.subject, failures=failures)
            emails.send(db, parts, MailKind.SIGN_IN_BLOCKED, emails.Recipient.of(user))
    return refusal
