"""What auth tells of people and tenants: the ledger keeps what was used, and forgets by whom.

Ids of people are not used again, so who has left is remembered for ever, and what is told late of their runs
is entered without them.
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

# What was being entered while the event was heard is committed long before.
LATE = timedelta(minutes=5)
IS_NAMED = exists().where(UsageEntry.user_id == deleted_users.c.user_id)
OPEN_TENANTS = erasure.purgeable_tenants().where(tenants.c.forgotten_at.is_(None))
IS_ANYBODY_LEAVING = select(erasure.pending_erasures().exists() | OPEN_TENANTS.exists())
BATCH = 500
PAUSE_SECONDS = 5.0


async def still_known(session: AsyncSession, user_id: str, tenant_id: UUID) -> str:
    """Give the id under which somebody's usage is entered: their own, unless they or the tenant are gone."""
    gone = (
        erasure.is_deleted_user(user_id).exists()
        | erasure.purgeable_tenants().where(tenants.c.id == tenant_id).exists()
    )
    return ANONYMOUS_SUBJECT if await session.scalar(select(gone)) else user_id


class Forgetter(LoopWorker):
    """Takes who has left out of the ledger, in small batches; a Worker, also of several replicas at once."""

    def __init__(self, database: Database) -> None:
        super().__init__("forgetting")
        self._database = database

    async def begin(self) -> None:
        """Make sure that the database answers."""
        await self._database.ping()

    async def step(self) -> float:
        """Forget some, and go on at once while there are more."""
        async with self._database.begin() as session:
            if not await session.scalar(IS_ANYBODY_LEAVING):
                return PAUSE_SECONDS
        people, over = await self._leaving()
        forgotten = [
            await self._forget(UsageEntry.user_id.in_(people)) if people else 0,
            await self._forget(UsageEntry.tenant_id.in_(over)) if over else 0,
        ]
        await self._settle(over)
        return 0 if BATCH in forgotten else PAUSE_SECONDS

    async def _leaving(self) -> tuple[Sequence[str], Sequence[UUID]]:
        """List who has left and is named in the ledger, and tenants whose time is over and may be."""
        # Few at a time: so the ledger is read by index.
        left = erasure.pending_erasures().where(IS_NAMED).limit(BATCH)
        over = OPEN_TENANTS.order_by(tenants.c.purge_after)
        async with self._database.begin() as session:
            people = (await session.scalars(left)).all()
            return people, (await session.scalars(over.limit(BATCH))).all()

    async def _settle(self, over: Sequence[UUID]) -> None:
        """Look no more for those of whom nothing is left, or can come without being entered as nobody's."""
        its = exists().where(UsageEntry.tenant_id == tenants.c.id, UsageEntry.user_id != ANONYMOUS_SUBJECT)
        closed = (tenants.c.id.in_(over), tenants.c.purge_after < func.now() - LATE, ~its)
        async with self._database.begin() as session:
            await erasure.mark_erased(session, IS_NAMED, LATE)
            await session.execute(update(tenants).where(*closed).values(forgotten_at=func.now()))

    async def _forget(self, whose: ColumnElement[bool]) -> int:
        named = select(UsageEntry.id).where(whose, UsageEntry.user_id != ANONYMOUS_SUBJECT).limit(BATCH)
        async with self._database.begin() as session:
            some = (await session.scalars(named.with_for_update(skip_locked=True))).all()
            await session.execute(
                update(UsageEntry).where(UsageEntry.id.in_(some)).values(user_id=ANONYMOUS_SUBJECT)
            )
        return len(some)


HANDLERS: dict[str, Handler] = {
    USER_EVENT: erasure.record_user_deleted,
    **dict.fromkeys(TENANT_EVENTS, erasure.record_tenant_changed),
}
