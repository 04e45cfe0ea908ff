"""End users that were erased, who may come again: runs of before the erasure create no conversation.

A request that its sender has given up is still executed, perhaps after the erasure. An end user is recognised
by a digest, as nothing else of one is stored.
"""

from datetime import datetime, timedelta
from hashlib import sha256

from servicekit.auth.tokens import Principal
from servicekit.retention import RetentionRule
from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from conversation.errors import ConversationNotFound
from conversation.models import Base, ErasedEndUser

# Longer than any request of before is executed.
RETENTION = timedelta(days=1)
LOCK = text("select pg_advisory_xact_lock(hashtextextended(:digest, 1))")
LOCK_SHARED = text("select pg_advisory_xact_lock_shared(hashtextextended(:digest, 1))")


def digest_of(end_user: Principal) -> bytes:
    """Return the digest by which an end user is recognised."""
    return sha256(f"{end_user.tenant_id} {end_user.user_id}".encode()).digest()


async def record_erased(db: AsyncSession, end_user: Principal, erased_before: datetime) -> None:
    """Record an erasure, after all turns that are being stored."""
    digest = digest_of(end_user)
    await db.execute(LOCK, {"digest": digest.hex()})
    row = insert(ErasedEndUser).values(digest=digest, erased_before=erased_before)
    newest = func.greatest(ErasedEndUser.erased_before, row.excluded.erased_before)
    changes = {"erased_before": newest, "recorded_at": func.now()}
    await db.execute(row.on_conflict_do_update(index_elements=["digest"], set_=changes))


async def refuse_erased(db: AsyncSession, end_user: Principal, begun_at: datetime) -> None:
    """Refuse a run that began before the erasure of its end user; raise ConversationNotFound."""
    digest = digest_of(end_user)
    await db.execute(LOCK_SHARED, {"digest": digest.hex()})
    erased = select(ErasedEndUser.digest).where(
        ErasedEndUser.digest == digest, ErasedEndUser.erased_before >= begun_at
    )
    if await db.scalar(erased) is not None:
        raise ConversationNotFound


def retention_rule() -> RetentionRule:
    """Return the rule that deletes the records."""
    return Base.metadata.tables["erased_end_users"], ErasedEndUser.recorded_at < func.now() - RETENTION
