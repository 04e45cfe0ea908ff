"""Consecutive wrong answers: counted for each account, over all its factors and challenges.

An answer is counted before it is verified, so that concurrent ones all count; a correct one resets the count.
Only who has proved the first factor gets this far, so nobody can block another person's factors.
"""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import case, delete, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.dml import ReturningInsert

from auth import emails
from auth.audit import Action, record
from auth.errors import SigningKeysUnavailable
from auth.events import EmailKind
from auth.factors.errors import FactorsBlocked, InvalidFactor
from auth.models import FactorAttempts, User
from auth.services import AuthServices
from auth.settings import Settings
from auth.signing.vault import VaultUnavailable

# NIST SP 800-63B-4, 3.2.2: not more than 100 in a row, or what is guessed at is disabled.
MAX_FAILURES = 100
PERMANENT_BLOCK_RETRY = timedelta(days=1)
# No session could begin, and not because of the answer: that was right, or nothing would have been signed.
SIGNING_ERRORS = (SigningKeysUnavailable, VaultUnavailable)


async def register(services: AuthServices, user_id: UUID) -> int:
    """Count an answer that is about to be verified; raises FactorsBlocked."""
    async with services.database.begin() as db:
        failures: int | None = await db.scalar(count_answer(services.settings, user_id))
        if failures is None:
            raise FactorsBlocked(retry_after=(await remaining_block(db, user_id)).total_seconds())
    return failures


def count_answer(settings: Settings, user_id: UUID) -> ReturningInsert[tuple[int]]:
    """Return the statement that counts an answer as a failure, unless the user's factors are blocked."""
    block = timedelta(minutes=settings.auth_second_factor_block_minutes)
    more = FactorAttempts.failures + 1
    due = more % settings.auth_second_factor_max_failures == 0
    blocked_until = case((due, func.now() + block), else_=FactorAttempts.blocked_until)
    return (
        insert(FactorAttempts)
        .values(user_id=user_id, failures=1)
        .on_conflict_do_update(
            index_elements=[FactorAttempts.user_id],
            set_={"failures": more, "blocked_until": blocked_until},
            where=(FactorAttempts.failures < MAX_FAILURES)
            & or_(FactorAttempts.blocked_until.is_(None), FactorAttempts.blocked_until <= func.now()),
        )
        .returning(FactorAttempts.failures)
    )


async def remaining_block(db: AsyncSession, user_id: UUID) -> timedelta:
    """Return how long a user's factors stay blocked."""
    not_for_ever = (FactorAttempts.user_id == user_id, FactorAttempts.failures < MAX_FAILURES)
    until = await db.scalar(select(FactorAttempts.blocked_until).where(*not_for_ever))
    return until - datetime.now(UTC) if until else PERMANENT_BLOCK_RETRY


async def reset(db: AsyncSession, user_id: UUID) -> None:
    """Reset the failures of a user after a correct answer."""
    await db.execute(delete(FactorAttempts).where(FactorAttempts.user_id == user_id))


async def reset_after_outage(services: AuthServices, user_id: UUID) -> None:
    """Reset the failures after a correct answer whose effect an outage of ours undid."""
    async with services.database.begin() as db:
        await reset(db, user_id)


async def record_failure(
    services: AuthServices, user_id: UUID, failures: int, refusal: InvalidFactor
) -> InvalidFactor:
    """Audit a wrong answer; notify the owner when it blocks the account's factors."""
    async with services.database.begin() as db:
        user = await db.get_one(User, user_id)
        record(db, Action.SECOND_FACTOR_FAIL, actor=user.subject)
        if refusal.cloned:
            record(db, Action.PASSKEY_CLONED, actor=user.subject, passkey=str(refusal.cloned))
        if failures % services.settings.auth_second_factor_max_failures == 0:
            record(db, Action.SECOND_FACTOR_BLOCKED, actor=user.subject, failures=failures)
            emails.request_email(db, services, EmailKind.SIGN_IN_BLOCKED, emails.Recipient.from_user(user))
    return refusal
