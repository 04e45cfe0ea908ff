"""What auth tells of people and tenants: the ledger keeps what was used, and forgets by whom.

Ids of people are not used again, so who has left is remembered for ever, and what is told late of their runs
is entered without them.
"""

from datetime import timedelta
from uuid import UUID

from servicekit import departures
from servicekit.database import Database
from servicekit.departures import NOBODY, TENANT_EVENTS, USER_EVENT, leavers, tenants
from servicekit.steady import Steady
from servicekit.streams import Handler
from sqlalchemy import ColumnElement, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook.models import UsageEntry

# What was being entered while the event was heard is committed long before.
LATE = timedelta(hours=1)
BATCH = 500
PAUSE_SECONDS = 5.0


async def still_known(session: AsyncSession, user_id: str, tenant_id: UUID) -> str:
    """Give the id under which somebody's usage is entered: their own, unless they or the tenant are gone."""
    gone = departures.left(user_id).exists() | departures.over().where(tenants.c.id == tenant_id).exists()
    return NOBODY if await session.scalar(select(gone)) else user_id


class Forgetter(Steady):
    """Takes who has left out of the ledger, in small batches; a Worker, also of several replicas at once."""

    def __init__(self, database: Database) -> None:
        super().__init__("forgetting")
        self._database = database

    async def begin(self) -> None:
        """Make sure that the database answers."""
        await self._database.ping()

    async def step(self) -> float:
        """Forget some, and go on at once while there are more."""
        over = departures.over().where(tenants.c.forgotten_at.is_(None))
        forgotten = [
            await self._forget(UsageEntry.user_id.in_(departures.leaving())),
            await self._forget(UsageEntry.tenant_id.in_(over)),
        ]
        async with self._database.begin() as session:
            theirs = exists().where(UsageEntry.user_id == leavers.c.user_id)
            done = (leavers.c.forgotten_at.is_(None), leavers.c.heard_at < func.now() - LATE, ~theirs)
            await session.execute(update(leavers).where(*done).values(forgotten_at=func.now()))
            its = exists().where(UsageEntry.tenant_id == tenants.c.id, UsageEntry.user_id != NOBODY)
            closed = (tenants.c.forgotten_at.is_(None), tenants.c.purge_after < func.now() - LATE, ~its)
            await session.execute(update(tenants).where(*closed).values(forgotten_at=func.now()))
        return 0 if BATCH in forgotten else PAUSE_SECONDS

    async def _forget(self, whose: ColumnElement[bool]) -> int:
        named = select(UsageEntry.id).where(whose, UsageEntry.user_id != NOBODY).limit(BATCH)
        async with self._database.begin() as session:
            some = (await session.scalars(named.with_for_update(skip_locked=True))).all()
            await session.execute(update(UsageEntry).where(UsageEntry.id.in_(some)).values(user_id=NOBODY))
        return len(some)


HANDLERS: dict[str, Handler] = {
    USER_EVENT: departures.note_person,
    **dict.fromkeys(TENANT_EVENTS, departures.note_tenant),
}
