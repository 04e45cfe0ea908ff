"""Erasure of deleted users and tenants: the ledger keeps the usage and anonymizes the user.

User ids are never reused, so the ids of deleted users are kept, and usage that is reported late is anonymous.
"""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from servicekit import erasure
from servicekit.database import Database
from servicekit.erasure import ANONYMOUS_SUBJECT, TENANT_EVENTS, USER_EVENT, deleted_users, tenants
from servicekit.events.relay import Handler
from servicekit.workers.base import LoopWorker
from sqlalchemy import ColumnElement, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook.models import UsageEntry

# Entries that were being written when the event arrived are committed long before.
GRACE_PERIOD = timedelta(minutes=5)
IS_NAMED = UsageEntry.user_id != ANONYMOUS_SUBJECT
HAS_USAGE = exists().where(UsageEntry.user_id == deleted_users.c.user_id)
PENDING_TENANTS = erasure.purgeable_tenants().where(tenants.c.forgotten_at.is_(None))
IS_ERASURE_PENDING = select(erasure.pending_erasures().exists() | PENDING_TENANTS.exists())
BATCH_SIZE = 500
POLL_SECONDS = 5.0


async def subject_or_anonymous(db: AsyncSession, user_id: str, tenant_id: UUID) -> str:
    """Return the subject for a ledger entry: the user, or anonymous if the user or the tenant was deleted."""
    is_erased = (
        erasure.is_deleted_user(user_id).exists()
        | erasure.purgeable_tenants().where(tenants.c.id == tenant_id).exists()
    )
    return ANONYMOUS_SUBJECT if await db.scalar(select(is_erased)) else user_id


class ErasureWorker(LoopWorker):
    """Takes who has left out of the ledger, in small batches; a Worker, also of several replicas at once."""

    def __init__(self, database: Database) -> None:
        super().__init__("erasure")
        self._database = database

    async def begin(self) -> None:
        """Make sure that the database answers."""
        await self._database.ping()

    async def step(self) -> float:
        """Forget some, and go on at once while there are more."""
        async with self._database.begin() as db:
            if not await db.scalar(IS_ERASURE_PENDING):
                return POLL_SECONDS
        users, ended_tenants = await self._pending()
        counts = [
            await self._anonymize(UsageEntry.user_id.in_(users)) if users else 0,
            await self._anonymize(UsageEntry.tenant_id.in_(ended_tenants)) if ended_tenants else 0,
        ]
        await self._mark_erased(ended_tenants)
        return 0 if BATCH_SIZE in counts else POLL_SECONDS

    async def _pending(self) -> tuple[Sequence[str], Sequence[UUID]]:
        """List who has left and is named in the ledger, and tenants whose time is over and may be."""
        # Few at a time: so the ledger is read by index.
        users = erasure.pending_erasures().where(HAS_USAGE).limit(BATCH_SIZE)
        ended_tenants = PENDING_TENANTS.order_by(tenants.c.purge_after)
        async with self._database.begin() as db:
            user_ids = (await db.scalars(users)).all()
            return user_ids, (await db.scalars(ended_tenants.limit(BATCH_SIZE))).all()

    async def _mark_erased(self, ended_tenants: Sequence[UUID]) -> None:
        """Look no more for those of whom nothing is left, or can come without being entered as nobody's."""
        has_usage = exists().where(UsageEntry.tenant_id == tenants.c.id, IS_NAMED)
        erased = (
            tenants.c.id.in_(ended_tenants),
            tenants.c.purge_after < func.now() - GRACE_PERIOD,
            ~has_usage,
        )
        async with self._database.begin() as db:
            await erasure.mark_erased(db, HAS_USAGE, GRACE_PERIOD)
            await db.execute(update(tenants).where(*erased).values(forgotten_at=func.now()))

    async def _anonymize(self, condition: ColumnElement[bool]) -> int:
        query = select(UsageEntry.id).where(condition, IS_NAMED).limit(BATCH_SIZE)
        async with self._database.begin() as db:
            ids = (await db.scalars(query.with_for_update(skip_locked=True))).all()
            await db.execute(
                update(UsageEntry).where(UsageEntry.id.in_(ids)).values(user_id=ANONYMOUS_SUBJECT)
            )
        return len(ids)


HANDLERS: dict[str, Handler] = {
    USER_EVENT: erasure.record_user_deleted,
    **dict.fromkeys(TENANT_EVENTS, erasure.record_tenant_changed),
}
