"""What auth tells of people and tenants: the ledger keeps what was used, and forgets by whom.

Ids of people are not used again, so who has left is remembered for ever, and what is told late of their runs
is entered without them.
"""

from datetime import timedelta
from uuid import UUID

from pydantic import AwareDatetime, BaseModel
from servicekit.database import Database
from servicekit.events import Received
from servicekit.steady import Steady
from servicekit.streams import Handler
from sqlalchemy import ColumnElement, exists, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook.models import NOBODY, Leaver, Tenant, UsageEntry

# Of a tenant that went with its last person: nothing is newer.
LAST_VERSION = 2**31 - 1
# What was being entered while the event was heard is committed long before.
LATE = timedelta(hours=1)
BATCH = 500
PAUSE_SECONDS = 5.0


class UserDeleted(BaseModel):
    """`auth.user.deleted.v1`: somebody has left for good, and tenants that nobody else was in with them."""

    user_id: str
    tenant_ids: list[UUID]


class TenantChanged(BaseModel):
    """`auth.tenant.deleted.v1`, `.suspended.v1`, `.reactivated.v1`; only the first says `purge_after`."""

    tenant_id: UUID
    version: int
    purge_after: AwareDatetime | None = None


async def note_person(session: AsyncSession, received: Received) -> None:
    """Write down that somebody has left."""
    event = UserDeleted.model_validate(received.data)
    await session.execute(insert(Leaver).values(user_id=event.user_id).on_conflict_do_nothing())
    gone = {"version": LAST_VERSION, "purge_after": func.now()}
    for tenant_id in event.tenant_ids:
        row = insert(Tenant).values(id=tenant_id, **gone)
        await session.execute(row.on_conflict_do_update(index_elements=[Tenant.id], set_=gone))


async def note_tenant(session: AsyncSession, received: Received) -> None:
    """Write down what has become of a tenant; what is older than what is known changes nothing."""
    event = TenantChanged.model_validate(received.data)
    row = insert(Tenant).values(id=event.tenant_id, version=event.version, purge_after=event.purge_after)
    newest = {"version": row.excluded.version, "purge_after": row.excluded.purge_after}
    await session.execute(
        row.on_conflict_do_update(
            index_elements=[Tenant.id], set_=newest, where=Tenant.version < row.excluded.version
        )
    )


async def still_known(session: AsyncSession, user_id: str, tenant_id: UUID) -> str:
    """Give the id under which somebody's usage is entered: their own, unless they or the tenant are gone."""
    gone = exists().where(Leaver.user_id == user_id) | exists().where(
        Tenant.id == tenant_id, Tenant.purge_after < func.now()
    )
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
        leaving = select(Leaver.user_id).where(Leaver.forgotten_at.is_(None))
        over = select(Tenant.id).where(Tenant.forgotten_at.is_(None), Tenant.purge_after < func.now())
        forgotten = [
            await self._forget(UsageEntry.user_id.in_(leaving)),
            await self._forget(UsageEntry.tenant_id.in_(over)),
        ]
        async with self._database.begin() as session:
            theirs = exists().where(UsageEntry.user_id == Leaver.user_id)
            done = (Leaver.forgotten_at.is_(None), Leaver.heard_at < func.now() - LATE, ~theirs)
            await session.execute(update(Leaver).where(*done).values(forgotten_at=func.now()))
            its = exists().where(UsageEntry.tenant_id == Tenant.id, UsageEntry.user_id != NOBODY)
            closed = (Tenant.forgotten_at.is_(None), Tenant.purge_after < func.now() - LATE, ~its)
            await session.execute(update(Tenant).where(*closed).values(forgotten_at=func.now()))
        return 0 if BATCH in forgotten else PAUSE_SECONDS

    async def _forget(self, whose: ColumnElement[bool]) -> int:
        named = select(UsageEntry.id).where(whose, UsageEntry.user_id != NOBODY).limit(BATCH)
        async with self._database.begin() as session:
            some = (await session.scalars(named.with_for_update(skip_locked=True))).all()
            await session.execute(update(UsageEntry).where(UsageEntry.id.in_(some)).values(user_id=NOBODY))
        return len(some)


HANDLERS: dict[str, Handler] = {
    "auth.user.deleted.v1": note_person,
    "auth.tenant.deleted.v1": note_tenant,
    "auth.tenant.suspended.v1": note_tenant,
    "auth.tenant.reactivated.v1": note_tenant,
}
